-- A run as it stands: {0, epoch, meta, cells of the open step, the last closed step's record}, or {1, 'unknown-run'}.
-- KEYS[1] the run's meta. Writes nothing.

local P = string.sub(KEYS[1], 1, -2)
if not load_meta(P) then return {1, 'unknown-run'} end
local meta = call('HGETALL', P .. 'm')
local last = call('ZREVRANGE', P .. 's', 0, 0)[1] or call('HGET', P .. 'm', 'pruned')
return {0, integer(epoch_of(P)), meta, call('HGETALL', P .. 't'), call('HGET', P .. 'h', last) or ''}
