-- Delete a run and its checkpoints, but not its epoch, which rises: no late retry reaches a new run of the same name.
--
-- KEYS[1]  key of the run's record
--
-- Returns {0, epoch}, or {1, 'unknown-run'}.

local prefix = string.sub(KEYS[1], 1, -2)
if not load_run(prefix) then return {1, 'unknown-run'} end
return {0, delete_run_keys(prefix)}
