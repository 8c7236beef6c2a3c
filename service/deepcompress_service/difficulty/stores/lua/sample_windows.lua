-- Read windows of the index of a data set. Writes nothing.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  generation of the index that the windows were chosen for
-- ARGV[2..]  two for each window: its first score, and the score after its last
--
-- Returns {0, the problems of each window, as JSON: one string is read faster than a thousand}, or {1, 'changed'} if the index is of another generation.

local prefix = string.sub(KEYS[1], 1, -2)
if call('HGET', prefix .. 'ds', 'generation') ~= ARGV[1] then return {1, 'changed'} end
local result = {}
for i = 2, #ARGV, 2 do result[i / 2] = call('ZRANGEBYSCORE', prefix .. 'dx', ARGV[i], '(' .. ARGV[i + 1]) end
return {0, cjson.encode(result)}
