-- Read a run's record and that of its data set. Writes nothing.
--
-- KEYS[1]  key of the run's record
--
-- Returns {0, epoch, fields of the record, record of the data set or '', number of problems of each stratum as one string,
-- pending mark or ''}, or {1, 'unknown-run'}.

local prefix = string.sub(KEYS[1], 1, -2)
local run = load_run(prefix)
if not run then return {1, 'unknown-run'} end
local record, pending = unpack(call('HMGET', prefix .. 'ds', 'record', 'pending'))
if not run.indexed then record = '' end
if not record then return {1, 'run-damaged', 'data set'} end
return {0, integer(epoch_of(prefix)), call('HGETALL', prefix .. 'm'), record, table.concat(call('HGETALL', prefix .. 'dn'), ' '), pending or ''}
