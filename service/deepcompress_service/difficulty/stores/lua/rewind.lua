-- Forget everything from a step on; the epoch rises.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  first step to forget, a number; '' for everything but the configuration
--
-- Returns {0}, or {1, slug, facts...} with nothing changed.

local prefix, next_step = string.sub(KEYS[1], 1, -2), tonumber(ARGV[1])

local run = load_run(prefix)
if not run then return {1, 'unknown-run'} end
local refusal = check_rewindable(prefix, run, next_step)
if refusal then return refusal end
rewind(prefix, run, next_step)
call('INCR', prefix .. 'e')
mark_used(prefix)
return {0}
