-- Forget a run, as delete does, if nobody used it for ARGV[1] seconds of Redis' own clock.
-- KEYS[1] the run's meta. Answers {0, epoch} where it is gone now, {0, ''} where it stays, or {1, 'unknown-run'}.

local P = string.sub(KEYS[1], 1, -2)
if not load_meta(P) then return {1, 'unknown-run'} end
local last = call('GET', P .. 'a')
-- A run of a version that kept no such time: it is counted from now on.
if not last then used(P) end
if not last or tonumber(call('TIME')[1]) - tonumber(last) < tonumber(ARGV[1]) then return {0, ''} end
return {0, forget_run(P)}
