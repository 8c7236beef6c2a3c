-- The arguments of sample_plan.lua, which identity.lua reads too.

local prefix = string.sub(KEYS[1], 1, -2)
local sent_epoch, expected_epoch, sent_incarnation, sent_version = ARGV[1], '', ARGV[2], tonumber(ARGV[3])
