-- The index of a run's data set (bins.py, samples.py). After apply_groups.lua; only runs with a data set pay for it.
--
-- Score of a problem in the index: (number of its source * 64 + bin) * 2^38 + place: 52 bits, exact in a double.

local PLACES, BINS, ALWAYS_CORRECT, INNER = 274877906944, 64, 62, 60
local PRIOR = '<Bddd'

local function bin_of(ratio)
  if not ratio then return 0 end
  if ratio <= 0 then return 1 end
  if ratio >= 1 then return ALWAYS_CORRECT end
  return 2 + math.min(INNER - 1, math.floor(ratio * INNER))
end

-- The bin of a problem that was never trained, from its packed prior (nil: none).
local function bin_of_prior(prior)
  if not prior then return 0 end
  local flags, ratio, rollouts = struct.unpack(PRIOR, prior)
  if flags % 2 == 0 then return 0 end
  if math.floor(flags / 2) % 2 == 1 then ratio = (ratio * rollouts + 1) / (rollouts + 2) end
  return bin_of(ratio)
end

-- The smoothed pass ratio of a problem's record at the end of the last closed step, or nil.
local function closed_ratio(run, raw)
  local _, _, ratio, _, _, _, flags = struct.unpack(STATE, raw)
  local step, attempts, passes = struct.unpack('<dI4I4', raw, STATE_BYTES + 1)
  local known = flags % 2 == 1
  if attempts > 0 and step ~= run.open then
    return smoothed(known, ratio, passes / attempts, run.config.problem_weight)
  end
  return known and ratio or nil
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

-- Give each of these problems that is in the index the bin of its pass ratio after the last closed step.
local function reindex(prefix, run, ids)
  local scores, known, unseen, changes, moved = scores_of(prefix, ids), {}, {}, {}, {}
  for _, id in ipairs(ids) do
    if scores[id] then known[#known + 1] = id end
  end
  local records, bins = values(prefix .. 'p', known), {}
  for i, id in ipairs(known) do
    local ratio = records[i] and closed_ratio(run, records[i])
    if ratio then bins[id] = bin_of(ratio) else unseen[#unseen + 1] = id end
  end
  local priors = values(prefix .. 'dp', unseen)
  for i, id in ipairs(unseen) do bins[id] = bin_of_prior(priors[i] or nil) end
  for _, id in ipairs(known) do
    local score = scores[id]
    local stratum = score and math.floor(score / PLACES)
    local other = score and stratum - stratum % BINS + bins[id]
    if other ~= stratum then
      moved[#moved + 1] = integer(score + (other - stratum) * PLACES)
      moved[#moved + 1] = id
      changes[stratum], changes[other] = (changes[stratum] or 0) - 1, (changes[other] or 0) + 1
      scores[id] = nil -- a problem that is there twice is moved once
    end
  end
  for from = 1, #moved, 4000 do call('ZADD', prefix .. 'dx', unpack(moved, from, math.min(from + 3999, #moved))) end
  for stratum, change in pairs(changes) do
    if change ~= 0 then call('HINCRBY', prefix .. 'dn', integer(stratum), integer(change)) end
  end
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

-- True if the index has all problems of the data set and their priors, and counts all: none of its keys was evicted or
-- deleted.
local function has_index(prefix)
  local record, priors = unpack(call('HMGET', prefix .. 'ds', 'record', 'priors'))
  if not record or priors and call('HLEN', prefix .. 'dp') ~= tonumber(priors) then return false end
  local problems, counted = cjson.decode(record).problems, 0
  for _, n in ipairs(call('HVALS', prefix .. 'dn')) do counted = counted + n end
  return counted == problems and call('ZCARD', prefix .. 'dx') == problems
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
