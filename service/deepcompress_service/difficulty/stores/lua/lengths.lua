-- Packed counts of correct lengths by bin (codec.py). After layout.lua.
--
-- A packed value: sizes in bytes of its two parts (16 bits each), then counts (a bin in one byte, its count in two; bins
-- ascending), then single rollouts (a bin in one byte each).
--
-- The end of a problem's record is left out if the problem has no lengths. It has portions, the newest first: the single
-- rollouts of a step behind their number, which is added to PORTION in two bytes, the high one first. Then comes one of
--   nothing;
--   DENSE or WIDE, visits, the first bin, the number of bins, and the count of each bin in one byte or in two;
--   PAIR: the number of visits; sizes of the counts before a step, of the single rollouts before it, of those that the step
--   added, and of the counts that it added; then these four.
-- The step of the record's tally added the first portion, or, without portions, what PAIR has of a step.

local PAIR, PAIR_BYTES = '<BI2I2I2I2', 9
local PORTION, NO_PORTION, MOST_BYTES = 240, '\240\0', 96
local WHOLE_TALLY = TALLY .. string.sub(PAIR, 2) -- of a problem whose lengths have no portions; then these
local NO_LENGTHS = '\0\0\0\0'
local HAS_LENGTHS = 4 -- flag of a group's record
local OBSERVED_LENGTHS = 2 -- flag of an observed group

local joined_lengths, folded_lengths, fold_portions, fold_singles, lengths_of
do -- Lua bounds the number of a script's local names
local DENSE, WIDE = 224, 225
local HALVED_AFTER, MOST_SINGLE, MOST_COUNT = 16, 512, 65535
local tally -- the count of bin b is at b + 1; every call leaves it all 0, so that none has to fill a new table

-- Add `size` bytes of counts and the single rollouts behind them, from `start` on, to the tally. Answers the least and the
-- greatest bin of these and of those given.
local function add_counts(packed, start, size, singles, least, greatest)
  if not tally then
    tally = {}
    for i = 1, 256 do tally[i] = 0 end
  end
  local last = start + size - 1
  -- Lua's stack bounds the results of one call.
  for from = start, last, 1200 do
    local bytes = {string.byte(packed, from, math.min(from + 1199, last))}
    for i = 1, #bytes, 3 do
      local at = bytes[i] + 1
      tally[at] = tally[at] + bytes[i + 1] + 256 * bytes[i + 2]
    end
    if bytes[1] < least then least = bytes[1] end
    if bytes[#bytes - 2] > greatest then greatest = bytes[#bytes - 2] end
  end
  for from = last + 1, last + singles, 1200 do
    local bytes = {string.byte(packed, from, math.min(from + 1199, last + singles))}
    for i = 1, #bytes do
      local bin = bytes[i]
      tally[bin + 1] = tally[bin + 1] + 1
      if bin < least then least = bin end
      if bin > greatest then greatest = bin end
    end
  end
  return least, greatest
end

-- Halve the counts in the tally, rounded down.
local function halve_counts(least, greatest)
  for i = least + 1, greatest + 1 do
    local count = math.min(tally[i], MOST_COUNT)
    tally[i] = (count - count % 2) / 2
  end
end

-- The counts in the tally, packed; it is 0 again.
local function take_counts(least, greatest)
  local bytes, n = {}, 0
  for bin = least, greatest do
    local count = math.min(tally[bin + 1], MOST_COUNT)
    if count > 0 then
      local low = count % 256
      bytes[n + 1], bytes[n + 2], bytes[n + 3] = bin, low, (count - low) / 256
      n, tally[bin + 1] = n + 3, 0
    end
  end
  return string.char(unpack(bytes))
end

-- The sum of two packed values as counts; with `halve`, half of it.
local function merged_lengths(one, other, halve)
  local size, singles = struct.unpack('<I2I2', one)
  local least, greatest = add_counts(one, 5, size, singles, 255, 0)
  size, singles = struct.unpack('<I2I2', other)
  least, greatest = add_counts(other, 5, size, singles, least, greatest)
  if halve then halve_counts(least, greatest) end
  local packed = take_counts(least, greatest)
  return struct.pack('<I2I2', #packed, 0) .. packed
end

function joined_lengths(one, other)
  if one == NO_LENGTHS then return other end
  if other == NO_LENGTHS then return one end
  local size, singles = struct.unpack('<I2I2', one)
  local other_size, other_singles = struct.unpack('<I2I2', other)
  if other_size > 0 or singles + other_singles > MOST_SINGLE then return merged_lengths(one, other, false) end
  return struct.pack('<I2I2', size, singles + other_singles) .. string.sub(one, 5) .. string.sub(other, 5)
end

-- Visits since the last halving and lengths, after a step that added these.
function folded_lengths(visits, before, added)
  if added == NO_LENGTHS then return visits, before end
  if visits + 1 < HALVED_AFTER then return visits + 1, joined_lengths(before, added) end
  return 0, merged_lengths(before, added, true)
end

-- The lengths of a problem's record without portions, behind their head, with those before the open step halved or counted if that is due; the
-- numbers of the head that change by it; and the lengths before the step. `visits` and `singles` have the last step before it.
function fold_singles(record, visits, size, singles)
  local start, body = RECORD_BYTES + PAIR_BYTES + 1, nil
  if visits == HALVED_AFTER or singles > MOST_SINGLE then
    local least, greatest = add_counts(record, start, size, singles, 255, 0)
    if visits == HALVED_AFTER then halve_counts(least, greatest) end
    body = take_counts(least, greatest)
    size, singles, visits = #body, 0, visits % HALVED_AFTER
  end
  body = body or string.sub(record, start)
  return body, visits, size, singles, struct.pack('<I2I2', size, singles) .. string.sub(body, 1, size + singles)
end

-- First places and numbers of the portions behind the first `at` bytes of a record, the newest first, and the place behind
-- them.
local function portions_of(record, at)
  local places, numbers, n = {}, {}, 0
  local high, low = string.byte(record, at + 1, at + 2)
  while high and high >= PORTION do
    n = n + 1
    places[n], numbers[n] = at + 3, 256 * (high - PORTION) + low
    at = at + 2 + numbers[n]
    high, low = string.byte(record, at + 1, at + 2)
  end
  return places, numbers, at
end

-- Add what is behind the first `at` bytes of a record, which has no portion, to the tally: visits, and the least and the
-- greatest bin. A step that PAIR has beside them is not counted apart: `added` is true if it has one.
local function add_base(record, at)
  local kind, visits, first, n = string.byte(record, at + 1, at + 4)
  if not kind then return 0, 255, 0, false end
  if kind == DENSE then
    local bytes = {string.byte(record, at + 5, at + 4 + n)}
    if not tally then add_counts('', 1, 0, 0, 255, 0) end
    for i = 1, n do tally[first + i] = bytes[i] end
    return visits, first, first + n - 1, false
  elseif kind == WIDE then
    if not tally then add_counts('', 1, 0, 0, 255, 0) end
    for i = 1, n do tally[first + i] = struct.unpack('<I2', record, at + 3 + 2 * i) end
    return visits, first, first + n - 1, false
  end
  local size, singles, added, added_size
  visits, size, singles, added, added_size = struct.unpack(PAIR, record, at + 1)
  local start = at + PAIR_BYTES + 1
  local least, greatest = add_counts(record, start, size, singles + added, 255, 0)
  if added_size > 0 then
    least, greatest = add_counts(record, start + size + singles + added, added_size, 0, least, greatest)
  end
  return visits, least, greatest, added + added_size > 0
end

-- The counts in the tally as the end of a record; it is 0 again.
local function take_dense(visits, least, greatest)
  while least <= greatest and tally[least + 1] == 0 do least = least + 1 end
  while least <= greatest and tally[greatest + 1] == 0 do greatest = greatest - 1 end
  local counts, n, most = {}, 0, 0
  for i = least + 1, greatest + 1 do
    local count = tally[i]
    tally[i], n = 0, n + 1
    counts[n] = count
    if count > most then most = count end
  end
  if most < 256 then return string.char(DENSE, visits, n > 0 and least or 0, n, unpack(counts)) end
  for i = 1, n do counts[i] = struct.pack('<I2', math.min(counts[i], MOST_COUNT)) end
  return string.char(WIDE, visits, least, n) .. table.concat(counts)
end

-- The end of a problem's record, with all portions and the step before them counted, so that it has none; as it is while
-- they take less than half of it. For every form of the end.
local function fold_any(record)
  local places, numbers, at = portions_of(record, RECORD_BYTES)
  if 2 * at < RECORD_BYTES + #record then return string.sub(record, RECORD_BYTES + 1) end
  local visits, least, greatest, added = add_base(record, at)
  for i = #places + 1, 1, -1 do
    local n = numbers[i] or added and 1 or 0
    if places[i] and n > 0 then least, greatest = add_counts(record, places[i], 0, n, least, greatest) end
    if n > 0 then
      visits = visits + 1
      if visits == HALVED_AFTER then
        halve_counts(least, greatest)
        visits = 0
      end
    end
  end
  return take_dense(visits, least, greatest)
end

-- Of `fold_portions`: where portions begin, and the counts of the bins from `first` to `last`, by bin. The tables are used again
-- and again, since a new one grows by steps.
local starts, counts, first, last = {}, nil, 0, -1

-- A table with a place for every bin, and no count yet. A count that is read outside of the range is 0, and widens it.
local function make_counts()
  local made = {[0] = 0, unpack({}, 1, 256)}
  made[0] = nil
  return setmetatable(made, {__index = function(t, bin)
    if last < first then first, last = bin, bin - 1 end
    for i = bin, first - 1 do t[i] = 0 end
    for i = last + 1, bin do t[i] = 0 end
    first, last = math.min(first, bin), math.max(last, bin)
    return 0
  end})
end

-- The same. The usual case, portions before counts of one byte each or before nothing, takes half of the time.
function fold_portions(record)
  counts = counts or make_counts()
  local byte, t, n, at = string.byte, counts, 0, RECORD_BYTES + 1
  local high, low = byte(record, at, at + 1)
  while high and high >= PORTION do
    n, at = n + 1, at + 2
    starts[n] = at
    at = at + 256 * (high - PORTION) + low
    high, low = byte(record, at, at + 1)
  end
  if 2 * at - 2 < RECORD_BYTES + #record or high and high ~= DENSE then return fold_any(record) end
  local visits, to = low or 0, at - 1
  first, last = 0, -1
  if high then
    first, last = byte(record, at + 2, at + 3)
    last = first + last - 1
    at = at + 4 - first
    for i = first, last, 8 do
      t[i], t[i + 1], t[i + 2], t[i + 3], t[i + 4], t[i + 5], t[i + 6], t[i + 7] = byte(record, at + i, at + i + 7)
    end
  end
  for i = n, 1, -1 do
    local from = starts[i]
    if from <= to then
      for j = from, to - 7, 8 do
        local a, b, c, d, e, f, g, h = byte(record, j, j + 7)
        t[a] = t[a] + 1
        t[b] = t[b] + 1
        t[c] = t[c] + 1
        t[d] = t[d] + 1
        t[e] = t[e] + 1
        t[f] = t[f] + 1
        t[g] = t[g] + 1
        t[h] = t[h] + 1
      end
      local rest = (to + 1 - from) % 8
      if rest >= 4 then
        local a, b, c, d = byte(record, to + 1 - rest, to + 4 - rest)
        t[a] = t[a] + 1
        t[b] = t[b] + 1
        t[c] = t[c] + 1
        t[d] = t[d] + 1
        rest = rest - 4
      end
      if rest > 0 then
        local a, b, c = byte(record, to + 1 - rest, to)
        t[a] = t[a] + 1
        if b then t[b] = t[b] + 1 end
        if c then t[c] = t[c] + 1 end
      end
      visits = visits + 1
      if visits == HALVED_AFTER then
        visits = 0
        for j = first, last do
          local count = t[j]
          t[j] = (count - count % 2) / 2
        end
      end
    end
    to = from - 3
  end
  local least, greatest = first, last
  while greatest >= least and t[greatest] == 0 do greatest = greatest - 1 end
  while least < greatest and t[least] == 0 do least = least + 1 end
  local done, packed = pcall(string.char, DENSE, visits, greatest >= least and least or 0, greatest + 1 - least,
                             unpack(t, least, greatest))
  for i = first, last do t[i] = nil end
  return done and packed or fold_any(record) -- a count over 255 has two bytes
end

-- Visits, lengths before the step of the tally, and those added, from the end of a record, behind its first `at` bytes.
function lengths_of(record, at)
  local places, numbers, base = portions_of(record, at)
  local visits, before, added = 0, NO_LENGTHS, NO_LENGTHS
  local kind = string.byte(record, base + 1)
  if kind == DENSE or kind == WIDE then
    local least, greatest
    visits, least, greatest = add_base(record, base)
    before = take_counts(least, greatest)
    before = struct.pack('<I2I2', #before, 0) .. before
  elseif kind then
    local size, singles, added_singles, added_size
    visits, size, singles, added_singles, added_size = struct.unpack(PAIR, record, base + 1)
    local start = base + PAIR_BYTES + 1
    local middle = start + size + singles
    local last = middle + added_singles
    before = struct.pack('<I2I2', size, singles) .. string.sub(record, start, middle - 1)
    added = struct.pack('<I2I2', added_size, added_singles) .. string.sub(record, last)
            .. string.sub(record, middle, last - 1)
  end
  for i = #places, 1, -1 do
    visits, before = folded_lengths(visits, before, added)
    added = struct.pack('<I2I2', 0, numbers[i]) .. string.sub(record, places[i], places[i] + numbers[i] - 1)
  end
  return visits, before, added
end

end

-- The end of a problem's record.
local function pack_lengths(visits, before, added)
  if visits == 0 and before == NO_LENGTHS and added == NO_LENGTHS then return '' end
  local size, singles = struct.unpack('<I2I2', before)
  local added_size, added_singles = struct.unpack('<I2I2', added)
  return struct.pack(PAIR, visits, size, singles, added_singles, added_size) .. string.sub(before, 5)
         .. string.sub(added, 5 + added_size) .. string.sub(added, 5, 4 + added_size)
end

-- The end of a problem's record with the lengths of an addition to its open step, for all cases; and the lengths before that
-- step. `record` is nil for a new problem; `same`: the step of its tally is the open one.
local function add_lengths(record, same, addition)
  local visits, before, last = 0, NO_LENGTHS, NO_LENGTHS
  local _, _, sent = lengths_of(addition, ADDED_BYTES)
  if record then visits, before, last = lengths_of(record, RECORD_BYTES) end
  if same then
    sent = joined_lengths(last, sent)
  else
    visits, before = folded_lengths(visits, before, last)
  end
  return pack_lengths(visits, before, sent), before
end
