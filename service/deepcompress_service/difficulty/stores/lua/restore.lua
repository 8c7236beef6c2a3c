-- Replace a run's state by that of a checkpoint; the epoch rises.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  name of the checkpoint
--
-- Returns {0}, or {1, slug, facts...} with nothing changed.

local prefix, name = string.sub(KEYS[1], 1, -2), ARGV[1]
local run = load_run(prefix)
if not run then return {1, 'unknown-run'} end
if call('HEXISTS', prefix .. 'c', name) == 0 then return {1, 'unknown-checkpoint', name} end
copy(prefix .. 'c:' .. name .. ':', prefix)
call('HSET', prefix .. 'm', 'incarnation', run.incarnation, 'version', 0)
if run.indexed then
  call('HSET', prefix .. 'm', 'dataset', '1')
  local restored = load_run(prefix)
  drop_samples_from(prefix, restored.closed + 1)
  if run.problems + restored.problems > 0 then mark_pending(prefix) else next_generation(prefix) end
end
call('INCR', prefix .. 'e')
mark_used(prefix)
return {0}
