-- One portion of bringing the index of problem names (P i) up to date, for pages in the order of the names. It is made
-- when somebody first looks and kept up by the scripts from then on; whatever replaces all problems drops it.
-- KEYS[1] the run's meta. ARGV: '0' to begin, else what the last portion answered. Answers '0' when it is up to date.

local P = string.sub(KEYS[1], 1, -2)
if ARGV[1] == '0' and call('ZCARD', P .. 'i') == call('HLEN', P .. 'p') then return '0' end
local portion, flat = call('HSCAN', P .. 'p', ARGV[1], 'COUNT', 500), {}
for i = 1, #portion[2], 2 do
  flat[i] = '0'
  flat[i + 1] = portion[2][i]
end
add_to_index(P, flat)
return portion[1]
