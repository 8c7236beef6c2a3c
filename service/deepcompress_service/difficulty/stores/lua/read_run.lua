-- Read a run. Writes nothing.
--
-- KEYS[1]  key of the run's record
--
-- Returns {0, epoch, fields of the record, buckets of the open step, record of the last closed step or '', time of the
-- last use or ''}, or {1, 'unknown-run'}.

local prefix = string.sub(KEYS[1], 1, -2)
if not load_run(prefix) then return {1, 'unknown-run'} end
local meta = call('HGETALL', prefix .. 'm')
local last = call('ZREVRANGE', prefix .. 's', 0, 0)[1] or call('HGET', prefix .. 'm', 'pruned')
return {
  0, integer(epoch_of(prefix)), meta, call('HGETALL', prefix .. 't'), call('HGET', prefix .. 'h', last) or '',
  call('GET', prefix .. 'a') or ''
}
