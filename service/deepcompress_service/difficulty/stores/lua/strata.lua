-- The index of a run's data set (bins.py, samples.py): what is read of it. After run_record.lua.
--
-- Score of a problem in the index: (number of its source * 64 + bin) * 2^38 + place: 52 bits, exact in a double.

local PLACES, BINS, ROUNDS = 274877906944, 64, 6

-- The last step up to the last closed one in which a problem counted, from its record; -1 if unknown.
local function last_visit(raw, closed)
  local before, step, attempts = struct.unpack('<ddI4', raw, STATE_BYTES - 7)
  return attempts > 0 and step <= closed and step or before
end

-- The scores of those of the problems that are in the index: id -> score.
local function scores_of(prefix, ids)
  local found = {}
  for from = 1, #ids, 4000 do
    local to = math.min(from + 3999, #ids)
    local scores = call('ZMSCORE', prefix .. 'dx', unpack(ids, from, to))
    for i = from, to do
      local score = scores[i - from + 1]
      if score then found[ids[i]] = tonumber(score) end
    end
  end
  return found
end

-- The problems that a step touched.
local function touched_by(prefix, step)
  local ids = call('HKEYS', prefix .. 'u:' .. step)
  for _, packed in ipairs(call('LRANGE', prefix .. 'n:' .. step, 0, -1)) do
    local at = 1
    while at <= #packed do
      local length = struct.unpack('<I2', packed, at)
      ids[#ids + 1] = string.sub(packed, at + 2, at + 1 + length)
      at = at + 2 + length
    end
  end
  return ids
end

-- The number of problems of the data set if the index has all of them and their priors: neither key was evicted or deleted.
-- Else nil.
local function indexed_problems(prefix, record, priors)
  if not record or priors and call('HLEN', prefix .. 'dp') ~= tonumber(priors) then return nil end
  local problems = cjson.decode(record).problems
  return call('ZCARD', prefix .. 'dx') == problems and problems or nil
end

-- True if the index has all problems and priors, and counts all: none of its keys was evicted or deleted.
local function has_index(prefix)
  local problems, counted = indexed_problems(prefix, unpack(call('HMGET', prefix .. 'ds', 'record', 'priors'))), 0
  for _, n in ipairs(call('HVALS', prefix .. 'dn')) do counted = counted + n end
  return counted == problems
end

-- The index changed, or the last closed step: a sample that was begun before is drawn again.
-- The first is the time in milliseconds: a data set of a run that was deleted or replaced never had the same.
local function next_generation(prefix)
  local now = call('TIME')
  call('HSETNX', prefix .. 'ds', 'generation', integer(now[1] * 1000 + math.floor(now[2] / 1000)))
  return integer(call('HINCRBY', prefix .. 'ds', 'generation', 1))
end

-- Mark that all bins must be computed again, before the next sample.
local function mark_pending(prefix) call('HSET', prefix .. 'ds', 'pending', next_generation(prefix)) end

-- Delete the samples of the steps from `step` on (nil: all).
local function drop_samples_from(prefix, step)
  for _, sampled in ipairs(call('HKEYS', prefix .. 'sm')) do
    if not step or tonumber(sampled) >= step then call('HDEL', prefix .. 'sm', sampled) end
  end
end
