-- Read the strata that a sample is drawn from (draw.read_stratum), draw (draw.Draw.choose) and record the sample.
-- After strata.lua.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  generation of the index that the windows were chosen for
-- ARGV[2]  stratum, quota, windows of a round (0: read whole), places of a window, problems, and the number of its
--          source in the record, of each stratum, packed
-- ARGV[3]  first places of the windows, packed
-- ARGV[4]  least bin of problems that are retired
-- ARGV[5]  oldest step whose problems are retired
-- ARGV[6]  last closed step
-- ARGV[7]  number of recorded samples when the windows were chosen
-- ARGV[8]  step
-- ARGV[9]  the record up to its problem_ids (samples.sample_start)
-- ARGV[10] order of the problems found, packed
-- ARGV[11..]  steps whose samples are deleted
--
-- Returns {0, the record, 1 if it was recorded before, else 0}; or with nothing changed {1} if more problems were found
-- than ARGV[10] has places, {2} if the index or the samples changed, {3} if a stratum has fewer problems than its quota.

local prefix, strata, places, step = string.sub(KEYS[1], 1, -2), ARGV[2], ARGV[3], ARGV[8]
local least_bin, first_step, closed = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if call('HGET', prefix .. 'ds', 'generation') ~= ARGV[1] then return {2} end
local recorded = call('HGET', prefix .. 'sm', step)
if recorded then return {0, recorded, 1} end
if call('HLEN', prefix .. 'sm') ~= tonumber(ARGV[7]) then return {2} end

local index, take, at = prefix .. 'dx', struct.unpack, 1
local ids, owners, found = {}, {}, 0 -- problems found, and the number of the stratum of each
local rows, quotas, numbers, ROW = 0, {}, {}, 48

local function add(list)
  for i = 1, #list do
    found = found + 1
    ids[found], owners[found] = list[i], rows
  end
end

-- Add the problems from one score to the one before another, those seen and those that are retired left out.
local function add_new(seen, retires, from, to)
  local list, new = call('ZRANGEBYSCORE', index, from, to - 1), {}
  for i = 1, #list do
    local id = list[i]
    if not seen[id] then
      seen[id] = true
      new[#new + 1] = id
    end
  end
  if not retires then return add(new) end
  local records, free = values(prefix .. 'p', new), {}
  for i = 1, #new do
    if not records[i] or last_visit(records[i], closed) < first_step then free[#free + 1] = new[i] end
  end
  add(free)
end

-- Add the problems of a round of windows, in a stratum without retired problems; false if two windows have a place in
-- common, or one goes on behind the last place, and nothing is added.
local function add_apart(start, number, width, window)
  local firsts = {}
  for i = 1, number do
    local first = take('<d', places, window + 8 * i - 8)
    if first + width > PLACES then return false end
    for j = 1, i - 1 do
      local apart = firsts[j] - first
      if apart < width and -apart < width then return false end
    end
    firsts[i] = first
  end
  for i = 1, number do
    local first = start + firsts[i]
    add(call('ZRANGEBYSCORE', index, first, first + width - 1))
  end
  return true
end

local function read_stratum(start, quota, number, width, retires, window, last)
  local before, seen = found, {}
  if number > 0 and number <= 50 and not retires and add_apart(start, number, width, window) then
    if found - before >= quota then return true end
    for i = before + 1, found do seen[ids[i]] = true end
    window = window + 8 * number
  end
  while found - before < quota and window < last do
    for _ = 1, number do
      local first = take('<d', places, window)
      add_new(seen, retires, start + first, start + math.min(first + width, PLACES))
      if first + width > PLACES then add_new(seen, retires, start, start + first + width - PLACES) end
      window = window + 8
    end
  end
  if found - before < quota then add_new(seen, retires, start, start + PLACES) end
  return found - before >= quota
end

-- Strata that are read whole and are neighbours in the index, from row `i` on, are read at once: the last row of them.
local function neighbours(i, stratum)
  local last = i
  while last + ROW <= #strata do
    local other, _, number = take('<ddd', strata, last + ROW)
    if number > 0 or other ~= stratum + 1 or other % BINS >= least_bin then break end
    last, stratum = last + ROW, other
  end
  return last, stratum
end

local i = 1
while i <= #strata do
  local stratum, quota, number, width, _, source = take('<dddddd', strata, i)
  local start, retires, last = stratum * PLACES, stratum % BINS >= least_bin, at + 8 * number * ROUNDS
  rows = rows + 1
  quotas[rows], numbers[rows] = quota, integer(source)
  local before, final = found, i
  if number == 0 and not retires then
    local final_stratum
    final, final_stratum = neighbours(i, stratum)
    if final > i then
      local list = call('ZRANGEBYSCORE', index, start, (final_stratum + 1) * PLACES - 1)
      local from = 1
      for row = i, final, ROW do
        local _, wanted, _, _, problems, number_of = take('<dddddd', strata, row)
        if row > i then rows = rows + 1 end
        quotas[rows], numbers[rows] = wanted, integer(number_of)
        for j = from, math.min(from + problems - 1, #list) do
          found = found + 1
          ids[found], owners[found] = list[j], rows
        end
        from = from + problems
      end
      if #list ~= from - 1 then return {3} end
    end
  end
  if found == before and not read_stratum(start, quota, number, width, retires, at, last) then return {3} end
  i, at = final + ROW, last
end
if 4 * found > #ARGV[10] then return {1} end

local drawn, of, n, wanted = {}, {}, 0, 0
for row = 1, rows do wanted = wanted + quotas[row] end
for from = 1, #ARGV[10], 4000 do
  local some = math.min(1000, (#ARGV[10] - from + 1) / 4)
  local order = {take('<' .. string.rep('I4', some), ARGV[10], from)}
  for j = 1, some do
    local place = order[j]
    local owner = owners[place]
    if owner and quotas[owner] > 0 then
      quotas[owner], n = quotas[owner] - 1, n + 1
      drawn[n], of[n] = ids[place], numbers[owner]
      if n == wanted then break end
    end
  end
  if n == wanted then break end
end
-- As JSON; characters below 32 stay as they are (samples.outcome_of).
local joined, encoded = table.concat(drawn, ' '), nil
if string.find(joined, '"', 1, true) or string.find(joined, '\\', 1, true) then
  encoded = cjson.encode(drawn)
else
  encoded = '["' .. table.concat(drawn, '","') .. '"]'
end
recorded = ARGV[9] .. ',"ids":' .. encoded .. ',"of":[' .. table.concat(of, ',') .. ']}'
call('HSET', prefix .. 'sm', step, recorded)
for j = 11, #ARGV do call('HDEL', prefix .. 'sm', ARGV[j]) end
mark_used(prefix)
return {0, recorded, 0}
