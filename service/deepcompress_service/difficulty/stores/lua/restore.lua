-- The state of the checkpoint ARGV[1] becomes the run's; the epoch rises.
-- KEYS[1] the run's meta. Answers {0}, or {1, slug} with nothing changed.

local P, name = string.sub(KEYS[1], 1, -2), ARGV[1]
if not load_meta(P) then return {1, 'unknown-run'} end
if call('HEXISTS', P .. 'c', name) == 0 then return {1, 'unknown-checkpoint', name} end
copy(P .. 'c:' .. name .. ':', P)
call('INCR', P .. 'e')
used(P)
return {0}
