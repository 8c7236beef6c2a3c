-- Delete what is left of a scratch state.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  prefix of the scratch state's keys
--
-- Returns {0}.

local scratch = ARGV[1]

wipe(scratch)
wipe_dataset(scratch)
return {0}
