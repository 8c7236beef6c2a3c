-- Discard observed groups of an asynchronous run that wait, so that they never count.
--
-- KEYS[1]   key of the run's record
-- ARGV[1]   epoch that the caller named, or ''
-- ARGV[2..] group_ids, all different
--
-- Returns {0, number of groups}, or {1, slug, facts...} with nothing changed.

local prefix, sent_epoch, ids = string.sub(KEYS[1], 1, -2), ARGV[1], {}
for i = 2, #ARGV do ids[i - 1] = ARGV[i] end

local run, epoch, discarded = load_run(prefix), epoch_of(prefix), 0
if not run then return {1, 'unknown-run'} end
if sent_epoch ~= '' and tonumber(sent_epoch) ~= epoch then return {1, 'epoch-mismatch', integer(epoch), sent_epoch} end
mark_used(prefix)
if not run.asynchronous then return {0, 0} end
local shaped = recorded_groups(prefix, run, ids)
local waiting, places = waiting_groups(prefix, ids)
for id, raw in pairs(waiting) do
  local g = unpack_observed(raw)
  if not shaped[id] and not g.discarded then
    g.discarded = true
    call('HSET', prefix .. 'o:' .. places[id], id, pack_observed(g))
    discarded = discarded + 1
  end
end
run.ages[5] = run.ages[5] + discarded
save_run(prefix, run)
return {0, discarded}
