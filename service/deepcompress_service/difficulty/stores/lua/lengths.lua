-- Packed counts of correct lengths by bin (length_counts.py). After layout.lua.
--
-- A packed value: sizes in bytes of its two parts (16 bits each), then counts (a bin in one byte, its count in two; bins
-- ascending), then single rollouts (a bin in one byte each). The end of a problem's record (PAIR) has the number of
-- visits; sizes of the counts before the step of its tally, of the single rollouts before it, of those that the step
-- added, and of the counts that it added; then these four. It is left out if there are none.

local PAIR, PAIR_BYTES = '<BI2I2I2I2', 9
local NO_LENGTHS = '\0\0\0\0'
local HALVED_AFTER, MOST_SINGLE, MOST_COUNT = 16, 512, 65535
local HAS_LENGTHS = 4 -- flag of a group's record
local OBSERVED_LENGTHS = 2 -- flag of an observed group

local function add_counts(counts, packed)
  local size, singles = struct.unpack('<I2I2', packed)
  -- Lua's stack bounds the results of one call.
  for from = 5, 4 + size, 1200 do
    local bytes = {string.byte(packed, from, math.min(from + 1199, 4 + size))}
    for i = 1, #bytes, 3 do
      counts[bytes[i]] = (counts[bytes[i]] or 0) + bytes[i + 1] + 256 * bytes[i + 2]
    end
  end
  for from = 5 + size, 4 + size + singles, 1200 do
    local bytes = {string.byte(packed, from, math.min(from + 1199, 4 + size + singles))}
    for i = 1, #bytes do counts[bytes[i]] = (counts[bytes[i]] or 0) + 1 end
  end
end

-- The sum of two packed values as counts; with `halve`, half of it.
local function merged_lengths(one, other, halve)
  local counts, bins, packed, n = {}, {}, {}, 0
  add_counts(counts, one)
  add_counts(counts, other)
  for bin in pairs(counts) do bins[#bins + 1] = bin end
  table.sort(bins)
  for i = 1, #bins do
    local count = math.min(counts[bins[i]], MOST_COUNT)
    if halve then count = math.floor(count / 2) end
    if count > 0 then
      packed[n + 1] = string.char(bins[i], count % 256, math.floor(count / 256))
      n = n + 1
    end
  end
  return struct.pack('<I2I2', 3 * n, 0) .. table.concat(packed)
end

local function joined_lengths(one, other)
  if one == NO_LENGTHS then return other end
  if other == NO_LENGTHS then return one end
  local size, singles = struct.unpack('<I2I2', one)
  local other_size, other_singles = struct.unpack('<I2I2', other)
  if other_size > 0 or singles + other_singles > MOST_SINGLE then return merged_lengths(one, other, false) end
  return struct.pack('<I2I2', size, singles + other_singles) .. string.sub(one, 5) .. string.sub(other, 5)
end

-- Visits since the last halving and lengths, after a step that added these.
local function folded_lengths(visits, before, added)
  if added == NO_LENGTHS then return visits, before end
  if visits + 1 < HALVED_AFTER then return visits + 1, joined_lengths(before, added) end
  return 0, merged_lengths(before, added, true)
end

-- Visits, lengths before the step of the tally, and those added, from a problem's record.
local function lengths_of(record)
  if #record == RECORD_BYTES then return 0, NO_LENGTHS, NO_LENGTHS end
  local visits, size, singles, added_singles, added_size = struct.unpack(PAIR, record, RECORD_BYTES + 1)
  local start = RECORD_BYTES + PAIR_BYTES + 1
  local middle = start + size + singles
  local last = middle + added_singles
  return visits, struct.pack('<I2I2', size, singles) .. string.sub(record, start, middle - 1),
         struct.pack('<I2I2', added_size, added_singles) .. string.sub(record, last)
         .. string.sub(record, middle, last - 1)
end

-- The end of a problem's record.
local function pack_lengths(visits, before, added)
  if visits == 0 and before == NO_LENGTHS and added == NO_LENGTHS then return '' end
  local size, singles = struct.unpack('<I2I2', before)
  local added_size, added_singles = struct.unpack('<I2I2', added)
  return struct.pack(PAIR, visits, size, singles, added_singles, added_size) .. string.sub(before, 5)
         .. string.sub(added, 5 + added_size) .. string.sub(added, 5, 4 + added_size)
end

-- Packed lengths, from what a request has of a group: single rollouts, or packed already.
local function packed_lengths(sent, are_singles)
  if sent == '' then return NO_LENGTHS end
  if are_singles then return struct.pack('<I2I2', 0, #sent) .. sent end
  return sent
end

-- The end of a problem's record with the single rollouts `sent` of the open step added to it, and the lengths before that
-- step where `keeps` is set. `record` is nil for a new problem; `same`: the step of its tally is the open one.
-- Nil where more is to do than to change the sizes and to append.
local function append_lengths(record, same, sent, keeps)
  if not record or #record == RECORD_BYTES then
    if sent == '' then return '', NO_LENGTHS end
    return struct.pack(PAIR, 0, 0, 0, #sent, 0) .. sent, NO_LENGTHS
  end
  local visits, size, singles, added, added_size = struct.unpack(PAIR, record, RECORD_BYTES + 1)
  if added_size > 0 then return nil end
  if same then
    if added + #sent > MOST_SINGLE then return nil end
    added = added + #sent
  else
    if added > 0 then
      visits, singles = visits + 1, singles + added
      if visits == HALVED_AFTER or singles > MOST_SINGLE then return nil end
    end
    added = #sent
  end
  local start = RECORD_BYTES + PAIR_BYTES + 1
  local before = keeps and struct.pack('<I2I2', size, singles) .. string.sub(record, start, start + size + singles - 1)
  return struct.pack(PAIR, visits, size, singles, added, 0) .. string.sub(record, start) .. sent, before
end
