-- Delete a run, as delete.lua does, if it was not used for some time by Redis' own clock.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  seconds without use
--
-- Returns {0, epoch} if it was deleted, {0, ''} if not, or {1, 'unknown-run'}.

local prefix, idle_seconds = string.sub(KEYS[1], 1, -2), tonumber(ARGV[1])

if not load_run(prefix) then return {1, 'unknown-run'} end
local last_used = call('GET', prefix .. 'a')
-- Written by a version that did not record the last use: the idle time starts now.
if not last_used then mark_used(prefix) end
if not last_used or tonumber(call('TIME')[1]) - tonumber(last_used) < idle_seconds then return {0, ''} end
return {0, delete_run_keys(prefix)}
