-- Add one portion of problem names to the index that pages in the order of names read (key P i).
-- The first page of a run makes the index; the scripts that count groups keep it current; scripts that replace all
-- problems delete it.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  '0' to begin, else what the last call returned
--
-- Returns '0' when the index is complete, else the cursor of the next portion.

local prefix, cursor = string.sub(KEYS[1], 1, -2), ARGV[1]

if cursor == '0' and call('ZCARD', prefix .. 'i') == call('HLEN', prefix .. 'p') then return '0' end
local portion, flat = call('HSCAN', prefix .. 'p', cursor, 'COUNT', 500), {}
for i = 1, #portion[2], 2 do
  flat[i] = '0'
  flat[i + 1] = portion[2][i]
end
add_to_index(prefix, flat)
return portion[1]
