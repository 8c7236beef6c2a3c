-- Read the strata that a sample is drawn from (draw.read_stratum). Writes nothing. After strata.lua.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  generation of the index that the windows were chosen for
-- ARGV[2]  stratum, quota, windows of a round (0: read whole) and places of a window, of each stratum, packed
-- ARGV[3]  first places of the windows, packed
-- ARGV[4]  least bin of problems that are retired
-- ARGV[5]  oldest step whose problems are retired
-- ARGV[6]  last closed step
--
-- Returns {0, the problems of each stratum}, or {1, 'changed'} if the index is of another generation.

local prefix, strata, places = string.sub(KEYS[1], 1, -2), ARGV[2], ARGV[3]
local least_bin, first_step, closed = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if call('HGET', prefix .. 'ds', 'generation') ~= ARGV[1] then return {1, 'changed'} end

local index, take, result, at, retires = prefix .. 'dx', struct.unpack, {}, 1, false

-- Add the problems from one score to the one before another, those that are retired left out.
local function read(found, seen, from, to)
  local ids, new = call('ZRANGEBYSCORE', index, from, to - 1), {}
  for i = 1, #ids do
    local id = ids[i]
    if not seen[id] then
      seen[id] = true
      new[#new + 1] = id
    end
  end
  local records = retires and values(prefix .. 'p', new)
  for i = 1, #new do
    if not retires or not records[i] or last_visit(records[i], closed) < first_step then found[#found + 1] = new[i] end
  end
end

local function read_stratum(start, quota, number, width, window, last)
  local found, seen = {}, {}
  while #found < quota and window < last do
    for _ = 1, number do
      local first = take('<d', places, window)
      read(found, seen, start + first, start + math.min(first + width, PLACES))
      if first + width > PLACES then read(found, seen, start, start + first + width - PLACES) end
      window = window + 8
    end
  end
  if #found < quota then read(found, seen, start, start + PLACES) end
  return found
end

for i = 1, #strata, 32 do
  local stratum, quota, number, width = take('<dddd', strata, i)
  local start, found = stratum * PLACES, nil
  retires = stratum % BINS >= least_bin
  if number == 1 and not retires then -- as a rule one window is enough
    local first = start + take('<d', places, at)
    if first + width <= start + PLACES then found = call('ZRANGEBYSCORE', index, first, first + width - 1) end
  end
  local last = at + 8 * number * ROUNDS
  if not found or #found < quota then found = read_stratum(start, quota, number, width, at, last) end
  result[#result + 1], at = found, last
end
return {0, result}
