-- Read what a sample is drawn from, or the recorded sample. After identity.lua.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  epoch that the caller named, or ''
-- ARGV[2]  incarnation that the caller saw, or ''
-- ARGV[3]  greatest version that the caller saw, or ''
-- ARGV[4]  step
-- ARGV[5]  number of closed steps for which problems are retired, 0 for none
-- ARGV[6]  least bin of problems that are retired
--
-- Returns {1, slug, facts...}, or
--   {0, epoch, fields of the record, record of the data set, pending mark or '', generation, recorded sample or '',
--   sampled steps, number of problems of each stratum, oldest closed step whose problems are retired,
--   number of problems of each stratum that were last visited in one of these steps}; numbers of strata are flat, as one
--   string, which is read faster than many

local step, retired_steps, least_bin = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

local epoch, run = epoch_of(prefix), load_run(prefix)
local refusal = check_identity(prefix, run, epoch)
if refusal then return refusal end
if not run then return {1, 'unknown-run'} end
if run.kind == 'stepless' then return {1, 'step-kind-mismatch', run.kind} end
if not run.indexed then return {1, 'no-dataset'} end
local record, priors, pending, generation =
  unpack(call('HMGET', prefix .. 'ds', 'record', 'priors', 'pending', 'generation'))
if not indexed_problems(prefix, record, priors) then return {1, 'run-damaged', 'data set'} end
local fields = call('HGETALL', prefix .. 'm')
local recorded = call('HGET', prefix .. 'sm', step)
if recorded then
  mark_used(prefix)
  return {0, integer(epoch), fields, record, '', generation, recorded, {}, '', '0', ''}
end
local first_step, retired, flat = run.closed + 1, {}, {}
if retired_steps > 0 and retired_steps < run.config.keep_steps and not pending then
  local visits = load_visits(prefix)
  local steps = math.max(retired_steps, visits and visits.steps or 0)
  local closed = call('ZREVRANGEBYSCORE', prefix .. 's', integer(run.closed), '-inf', 'LIMIT', 0, steps)
  if not visits or visits.least_bin > least_bin or visits.steps < steps then -- two policies in turn are counted once
    visits = count_visits(prefix, math.min(least_bin, visits and visits.least_bin or BINS), steps, closed)
  end
  first_step = tonumber(closed[math.min(retired_steps, #closed)] or first_step)
  for step, counts in pairs(visits.counts) do
    for stratum, count in pairs(counts) do
      if step >= first_step and stratum % BINS >= least_bin then retired[stratum] = (retired[stratum] or 0) + count end
    end
  end
  for stratum, count in pairs(retired) do
    flat[#flat + 1], flat[#flat + 2] = stratum, count
  end
end
return {0, integer(epoch), fields, record, pending or '', generation, '', call('HKEYS', prefix .. 'sm'),
        table.concat(call('HGETALL', prefix .. 'dn'), ' '), integer(first_step), join(flat)}
