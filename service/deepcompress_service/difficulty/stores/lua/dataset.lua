-- Bins of a run's data set (bins.py, samples.py). After strata.lua and problems.lua; only runs with a data set pay for it.

local ALWAYS_CORRECT, INNER = 62, 60
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

-- Give each of these problems that is in the index the bin of its pass ratio after the last closed step.
-- Returns, of each that is there, the step of the visit before its last, and its stratum before and after.
local function reindex(prefix, run, ids)
  local scores, known, unseen, changes, moved = scores_of(prefix, ids), {}, {}, {}, {}
  local befores, olds, news = {}, {}, {}
  for _, id in ipairs(ids) do
    if scores[id] then known[#known + 1] = id end
  end
  local records, bins = values(prefix .. 'p', known), {}
  for i, id in ipairs(known) do
    local ratio = records[i] and closed_ratio(run, records[i])
    befores[i] = records[i] and struct.unpack('<d', records[i], STATE_BYTES - 7) or -1
    if ratio then bins[id] = bin_of(ratio) else unseen[#unseen + 1] = id end
  end
  local priors = values(prefix .. 'dp', unseen)
  for i, id in ipairs(unseen) do bins[id] = bin_of_prior(priors[i] or nil) end
  for i, id in ipairs(known) do
    local score = scores[id]
    local stratum = score and math.floor(score / PLACES)
    local other = score and stratum - stratum % BINS + bins[id]
    olds[i], news[i] = stratum or 0, other or 0
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
  return befores, olds, news
end
