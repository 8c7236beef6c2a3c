-- Record the sample of a step.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  generation of the index that the sample was drawn from
-- ARGV[2]  number of recorded samples when it was drawn
-- ARGV[3]  step
-- ARGV[4]  the sample
-- ARGV[5..]  steps whose samples are deleted
--
-- Returns {0, ''}, {0, the sample that was recorded meanwhile}, or {1, 'changed'} with nothing changed.

local prefix, step = string.sub(KEYS[1], 1, -2), ARGV[3]
local recorded = call('HGET', prefix .. 'sm', step)
if call('HGET', prefix .. 'ds', 'generation') ~= ARGV[1] then return {1, 'changed'} end
if recorded then return {0, recorded} end
if call('HLEN', prefix .. 'sm') ~= tonumber(ARGV[2]) then return {1, 'changed'} end
call('HSET', prefix .. 'sm', step, ARGV[4])
for i = 5, #ARGV do call('HDEL', prefix .. 'sm', ARGV[i]) end
mark_used(prefix)
return {0, ''}
