-- Forget a run and its checkpoints, but not its epoch, which rises: no late retry reaches a run of the same name.
-- KEYS[1] the run's meta. Answers {0, epoch}, or {1, 'unknown-run'}.

local P = string.sub(KEYS[1], 1, -2)
if not load_meta(P) then return {1, 'unknown-run'} end
return {0, forget_run(P)}
