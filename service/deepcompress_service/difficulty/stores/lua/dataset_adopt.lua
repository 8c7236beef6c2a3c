-- Make the data set that was filled aside that of the run, unless the run has the same.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  prefix of the scratch keys
-- ARGV[2]  record of the data set, JSON
-- ARGV[3]  incarnation of a run that has none
-- ARGV[4]  number of problems that have a prior
-- ARGV[5..]  two for each stratum: its number, and its number of problems
--
-- Returns {0, 1 if the run has it now, 0 if it had the same}, or {1, slug, facts...} with nothing changed.

local prefix, scratch, text, incarnation = string.sub(KEYS[1], 1, -2), ARGV[1], ARGV[2], ARGV[3]

local run = load_run(prefix)
if not run then return {1, 'unknown-run'} end
local new, old = cjson.decode(text), run.indexed and call('HGET', prefix .. 'ds', 'record')
if old then
  old = cjson.decode(old)
  if old.seed ~= new.seed then return {1, 'dataset-changed'} end
end
if call('ZCARD', scratch .. 'dx') ~= new.problems or call('HLEN', scratch .. 'dp') ~= tonumber(ARGV[4]) then return {1, 'scratch-gone'} end
mark_used(prefix)
if old and old.digest == new.digest and has_index(prefix) then return {0, 0} end
call('UNLINK', prefix .. 'dx', prefix .. 'dp', prefix .. 'dn', prefix .. 'dv')
for _, name in ipairs({'dx', 'dp'}) do
  if call('EXISTS', scratch .. name) == 1 then
    call('RENAME', scratch .. name, prefix .. name)
    call('PERSIST', prefix .. name)
  end
end
for from = 5, #ARGV, 4000 do call('HSET', prefix .. 'dn', unpack(ARGV, from, math.min(from + 3999, #ARGV))) end
call('HSET', prefix .. 'ds', 'record', text, 'priors', ARGV[4])
call('HDEL', prefix .. 'ds', 'pending')
call('HSET', prefix .. 'm', 'dataset', '1')
if run.incarnation == '' then call('HSET', prefix .. 'm', 'incarnation', incarnation) end
if run.problems > 0 then mark_pending(prefix) else next_generation(prefix) end
return {0, 1}
