-- Forget everything at steps >= ARGV[1] ('': all but the configuration), and raise the epoch.
-- KEYS[1] the run's meta. Answers {0}, or {1, slug, facts...} with nothing changed.

local P = string.sub(KEYS[1], 1, -2)
local m, next_step = load_meta(P), tonumber(ARGV[1])
if not m then return {1, 'unknown-run'} end
local refusal = check_reach(P, m, next_step)
if refusal then return refusal end
rewind(P, m, next_step)
call('INCR', P .. 'e')
used(P)
return {0}
