-- Problems of a data set by the closed step of their last visit, for policies that retire (visits.py). After strata.lua.

-- The counts of a run: least_bin, steps, and by step the number of problems of each stratum. Nil if it has none, or if
-- they are of another generation: bins have changed since, in another way than by a step that closed.
local function load_visits(prefix)
  local fields, by_step = pairs_of(prefix .. 'dv'), {}
  if not fields.of then return nil end
  local least_bin, steps, generation = unpack(numbers(fields.of))
  if tonumber(call('HGET', prefix .. 'ds', 'generation')) ~= generation then return nil end
  fields.of = nil
  for step, text in pairs(fields) do
    local flat, counts = numbers(text), {}
    for i = 1, #flat, 2 do counts[flat[i]] = flat[i + 1] end
    by_step[tonumber(step)] = counts
  end
  return {least_bin = least_bin, steps = steps, counts = by_step, changed = {}}
end

local function save_visits(prefix, visits, generation)
  local flat = {'of', join({visits.least_bin, visits.steps, generation})}
  for step in pairs(visits.changed) do
    local list = {}
    for stratum, count in pairs(visits.counts[step] or {}) do
      if count ~= 0 then list[#list + 1], list[#list + 2] = stratum, count end
    end
    flat[#flat + 1], flat[#flat + 2] = integer(step), join(list)
  end
  put(prefix .. 'dv', flat)
end

local function add_visits(visits, step, stratum, count)
  local counts = visits.counts[step]
  if counts and stratum % BINS >= visits.least_bin then
    counts[stratum], visits.changed[step] = (counts[stratum] or 0) + count, true
  end
end

-- Count the visits of a step that closes: of each, the step of the visit before, and the stratum before and after.
local function close_visits(prefix, visits, generation, step, befores, olds, news)
  visits.counts[step], visits.changed[step] = {}, true
  for i = 1, #olds do
    add_visits(visits, befores[i], olds[i], -1)
    add_visits(visits, step, news[i], 1)
  end
  save_visits(prefix, visits, generation)
  local steps = {}
  for visited in pairs(visits.counts) do steps[#steps + 1] = visited end
  table.sort(steps)
  for i = 1, #steps - visits.steps do call('HDEL', prefix .. 'dv', integer(steps[i])) end
end

-- Count the visits of these steps, the newest first, from the records of what they touched.
local function count_visits(prefix, least_bin, steps, closed)
  local visits, seen = {least_bin = least_bin, steps = steps, counts = {}, changed = {}}, {}
  for _, text in ipairs(closed) do
    local step = tonumber(text)
    visits.counts[step], visits.changed[step] = {}, true
    for id, score in pairs(scores_of(prefix, touched_by(prefix, text))) do
      if not seen[id] then
        seen[id] = true
        add_visits(visits, step, math.floor(score / PLACES), 1)
      end
    end
  end
  call('UNLINK', prefix .. 'dv')
  save_visits(prefix, visits, call('HGET', prefix .. 'ds', 'generation'))
  return visits
end
