-- Create a run, or compare its configuration. A run without state takes the new one; one that continues another has state.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  difficulty configuration, JSON
-- ARGV[2]  the run's whole configuration, canonical JSON
-- ARGV[3]  incarnation of a run that has none
--
-- Returns {0, 1} if the run was created, {0, 0} if it existed, or {1, 'run-conflict'} with nothing changed.

local prefix, config, config_text, incarnation = string.sub(KEYS[1], 1, -2), ARGV[1], ARGV[2], ARGV[3]

local run = load_run(prefix)
local same = run and call('HGET', prefix .. 'm', 'config_text') == config_text
if run and (run.kind ~= '' or run.begun) and not same then return {1, 'run-conflict'} end
if not run and lost_record(prefix) then drop_remains(prefix) end
mark_used(prefix)
if same and run.incarnation ~= '' then return {0, 0} end
local fresh = same and run or new_run(config)
if run then fresh.closed, fresh.incarnation = run.closed, run.incarnation end
if run and run.asynchronous ~= fresh.asynchronous or not run and fresh.asynchronous then forget_waiting(prefix) end
if fresh.incarnation == '' then fresh.incarnation = incarnation end
call('HSET', prefix .. 'm', 'config', config, 'config_text', config_text)
save_run(prefix, fresh)
return {0, run and 0 or 1}
