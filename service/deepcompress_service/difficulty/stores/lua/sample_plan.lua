-- Read what a sample is drawn from, or the recorded sample. After identity.lua.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  epoch that the caller named, or ''
-- ARGV[2]  incarnation that the caller saw, or ''
-- ARGV[3]  greatest version that the caller saw, or ''
-- ARGV[4]  step
-- ARGV[5]  number of closed steps for which problems are retired, 0 for none
-- ARGV[6]  least bin of problems that are retired
--
-- Returns {1, slug, facts...}, or
--   {0, epoch, fields of the record, record of the data set, pending mark or '', generation, recorded sample or '',
--   sampled steps, number of problems of each stratum (flat), retired problems, their scores}; the last three as JSON,
--   since one string is read faster than a thousand

local step, retired_steps, least_bin = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

local epoch, run = epoch_of(prefix), load_run(prefix)
local refusal = check_identity(prefix, run, epoch)
if refusal then return refusal end
if not run then return {1, 'unknown-run'} end
if run.kind == 'stepless' then return {1, 'step-kind-mismatch', run.kind} end
if not run.indexed then return {1, 'no-dataset'} end
local record, pending, generation = unpack(call('HMGET', prefix .. 'ds', 'record', 'pending', 'generation'))
if not has_index(prefix) then return {1, 'run-damaged', 'data set'} end
local fields = call('HGETALL', prefix .. 'm')
local recorded = call('HGET', prefix .. 'sm', step)
if recorded then
  mark_used(prefix)
  return {0, integer(epoch), fields, record, '', generation, recorded, {}, '{}', '{}', '{}'}
end
local ids, scores, seen = {}, {}, {}
if retired_steps > 0 then
  local closed = call('ZREVRANGEBYSCORE', prefix .. 's', integer(run.closed), '-inf', 'LIMIT', 0, retired_steps)
  for _, n in ipairs(closed) do
    local touched = touched_by(prefix, n)
    for id, score in pairs(scores_of(prefix, touched)) do
      if not seen[id] and math.floor(score / PLACES) % BINS >= least_bin then
        seen[id] = true
        ids[#ids + 1], scores[#scores + 1] = id, integer(score)
      end
    end
  end
end
return {0, integer(epoch), fields, record, pending or '', generation, '', call('HKEYS', prefix .. 'sm'),
        cjson.encode(call('HGETALL', prefix .. 'dn')), cjson.encode(ids), cjson.encode(scores)}
