-- Replace a run's state by the scratch state that an import filled; the epoch rises.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  prefix of the scratch state's keys
-- ARGV[2]  seconds after which observations expire if the run was never trained
-- ARGV[3]  number of problems of its data set that have a prior
--
-- Returns {0}, or {1, slug} with nothing changed: 'unknown-run' or 'scratch-gone' if the scratch state is gone, 'dataset-twice'
-- if its data set has a problem twice.

local prefix, scratch, observations_seconds = string.sub(KEYS[1], 1, -2), ARGV[1], ARGV[2]

local run = load_run(scratch)
if not run then return {1, 'unknown-run'} end
local dataset = run.indexed and cjson.decode(call('HGET', scratch .. 'ds', 'record'))
if dataset and call('ZCARD', scratch .. 'dx') ~= dataset.problems then return {1, 'dataset-twice'} end
if dataset and call('HLEN', scratch .. 'dp') ~= tonumber(ARGV[3]) then return {1, 'scratch-gone'} end
wipe(prefix)
wipe_dataset(prefix)
local function move(name)
  if call('EXISTS', scratch .. name) == 1 then
    call('RENAME', scratch .. name, prefix .. name)
    call('PERSIST', prefix .. name)
  end
end
for _, step in ipairs(steps_with_keys(scratch)) do
  for _, kind in ipairs(BY_STEP) do move(kind .. step) end
end
for _, name in ipairs(WHOLE) do move(name) end
for _, name in ipairs(DATASET) do move(name) end
if dataset then
  call('HSET', prefix .. 'ds', 'priors', ARGV[3])
  mark_pending(prefix)
end
if run.kind == '' then keep_observations(prefix, observations_seconds) end
call('INCR', prefix .. 'e')
mark_used(prefix)
return {0}
