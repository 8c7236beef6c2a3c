-- Delete the checkpoint ARGV[1]. KEYS[1] the run's meta. Answers {0}, or {1, slug}.

local P, name = string.sub(KEYS[1], 1, -2), ARGV[1]
if not load_meta(P) then return {1, 'unknown-run'} end
if call('HDEL', P .. 'c', name) == 0 then return {1, 'unknown-checkpoint', name} end
wipe(P .. 'c:' .. name .. ':')
used(P)
return {0}
