-- Read windows of the index of a data set. Writes nothing.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  generation of the index that the windows were chosen for
-- ARGV[2..]  two for each window: its first score, and the score after its last
--
-- Returns {0, problems of each window...}, or {1, 'changed'} if the index is of another generation.

local prefix = string.sub(KEYS[1], 1, -2)
if call('HGET', prefix .. 'ds', 'generation') ~= ARGV[1] then return {1, 'changed'} end
local result = {0}
for i = 2, #ARGV, 2 do result[#result + 1] = call('ZRANGEBYSCORE', prefix .. 'dx', ARGV[i], '(' .. ARGV[i + 1]) end
return result
