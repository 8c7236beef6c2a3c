-- Compute the bins of one portion of a data set that is pending.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  the pending mark
-- ARGV[2]  '0' to begin, else what the last call returned
--
-- Returns {0, cursor of the next portion}; '0': done, also by others, or the mark is another one now.

local prefix, mark, cursor = string.sub(KEYS[1], 1, -2), ARGV[1], ARGV[2]

local run = load_run(prefix)
if not run or not run.indexed or call('HGET', prefix .. 'ds', 'pending') ~= mark then return {0, '0'} end
local portion, ids = call('ZSCAN', prefix .. 'dx', cursor, 'COUNT', 1000), {}
for i = 1, #portion[2], 2 do ids[#ids + 1] = portion[2][i] end
reindex(prefix, run, ids)
if portion[1] == '0' then call('HDEL', prefix .. 'ds', 'pending') end
next_generation(prefix)
return {0, portion[1]}
