-- Create a run, or compare its configuration.
-- KEYS[1] the run's meta. ARGV: config, its text.
-- Answers {0, created} or {1, 'run-conflict'}. A run without state takes the new configuration.

local P = string.sub(KEYS[1], 1, -2)
local m = load_meta(P)
local same = m and call('HGET', P .. 'm', 'config_text') == ARGV[2]
if m and m.kind ~= '' and not same then return {1, 'run-conflict'} end
used(P)
if same then return {0, 0} end
local fresh = fresh_meta(ARGV[1])
if m then fresh.closed = m.closed end
call('HSET', P .. 'm', 'config', ARGV[1], 'config_text', ARGV[2])
save_meta(P, fresh)
return {0, m and 0 or 1}
