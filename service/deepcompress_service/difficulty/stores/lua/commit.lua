-- One training request: count each group once, answer with the state that its reward is computed from.
-- Arguments: commit_arguments.lua. After commit_count.lua.
--
-- Returns {1, slug, facts...} with nothing changed, or
--   0, epoch, step,
--   1 if the run was created (else 0), config_text,
--   the step's level and its mean P_g,
--   1 if the new groups are stale (else 0),
--   one digit a group (1: replayed), or '' if all are new,
--   what the new groups share (the \255 field), or '' if there is none,
--   a list, by index: the whole record of each replayed group, the problem_id of each new one sent without it,
--   incarnation, version, and the step of the request that created the run, or '',
--   the lengths of the new groups' problems (the \253 field), or ''.
-- A whole record: level, the step's level, mean, flags, number of further accumulators, these, the problem's state,
-- digest, length of the problem_id, problem_id, lengths behind their length if the flags have HAS_LENGTHS, payload.

local epoch, created = epoch_of(prefix), 0
run = load_run(prefix)
local refusal = check_identity(prefix, run, epoch)
if refusal then return refusal end
if not run then
  if new_config == '' then return {1, 'unknown-run'} end
  run, created = new_run(new_config), 1
  run.created = true
end
local kind = sent_step == '' and 'stepless' or 'stepped'
if run.kind ~= '' and run.kind ~= kind then return {1, 'step-kind-mismatch', run.kind} end
local untrained = run.kind == ''
run.kind = kind
if duplicate ~= '' then return {1, 'group-conflict', duplicate, 'twice'} end

local function success(step, result, groups)
  mark_used(prefix)
  local config_text = created == 1 and new_config_text or call('HGET', prefix .. 'm', 'config_text')
  local replayed, entries = {}, {}
  for i, g in ipairs(groups or {}) do
    replayed[i] = g.record and '1' or '0'
    if g.record then
      entries[#entries + 1] = g.record
    elseif g.unnamed then
      entries[#entries + 1] = g.problem
    end
  end
  return {0, integer(epoch), integer(step), created, config_text, double(result.step_level), double(result.mean),
          result.flags or 0, table.concat(replayed), result.shared or '', entries, run.incarnation,
          integer(run.version), run.created_step and integer(run.created_step) or '', result.lengths or ''}
end

-- Before new groups of a step are counted or recorded; the run is saved afterwards.
local function create(step)
  if created == 1 then
    call('HSET', prefix .. 'm', 'config', new_config, 'config_text', new_config_text)
    run.created_step = step
    if run.asynchronous then forget_waiting(prefix) end
  end
  if run.incarnation == '' then run.incarnation = new_incarnation end
  run.version = run.version + 1
  if untrained then keep_observations(prefix) end
end

if kind == 'stepless' then
  local request, step, groups = call('HGET', prefix .. 'q', request_id), nil, read_groups()
  if request then
    if string.sub(request, 1, 16) ~= request_digest then return {1, 'group-conflict', request_id, 'request'} end
    step = struct.unpack('<d', request, 17)
    local records, at = {}, 25
    while at <= #request do
      local length = struct.unpack('<I4', request, at)
      records[#records + 1] = string.sub(request, at + 4, at + 3 + length)
      at = at + 4 + length
    end
    local step_level, mean = recorded_level(step, records)
    for i, record in ipairs(records) do groups[i].record = record end
    return success(step, {step_level = step_level, mean = mean}, groups)
  end
  step = run.open or run.closed + 1
  local unnamed = name_problems(step, groups)
  if unnamed then return {1, 'not-observed', unnamed, integer(step)} end
  create(step)
  advance_to(prefix, run, step)
  local result = plain and count_plain() or count(groups)
  local parts = {request_digest, struct.pack('<d', step)}
  for _, g in ipairs(groups) do
    local record = join_group(g.tail, result.shared, payloads_sent, result.lengths)
    parts[#parts + 1] = struct.pack('<I4', #record)
    parts[#parts + 1] = record
  end
  run.sequence = run.sequence + 1
  call('HSET', prefix .. 'q', request_id, table.concat(parts))
  call('ZADD', prefix .. 'qs', integer(run.sequence), request_id)
  for _, old in ipairs(call('ZRANGE', prefix .. 'qs', 0, -10001)) do
    call('HDEL', prefix .. 'q', old)
    call('ZREM', prefix .. 'qs', old)
  end
  local total = 0
  for _, c in pairs(run.buckets) do total = total + c.groups end
  local per_step = run.config.groups_per_step
  if per_step == cjson.null or total >= per_step then close(prefix, run) end
  save_run(prefix, run)
  return success(step, result, groups)
end

local step, several = tonumber(sent_step), nil
if not step then
  step, several = observed_step()
  if not step then return {1, 'not-observed', '', table.concat(several, ' ')} end
end
if step <= run.pruned then
  return {1, 'step-too-old', integer(step), integer(run.pruned), integer(run.config.keep_steps)}
end
local key, is_stale = prefix .. 'g:' .. integer(step), step <= run.closed
local known, places
if run.asynchronous then known, places = recorded_groups(prefix, run, group_ids) else known = known_groups(step) end

if plain and not is_stale and not next(known) then
  create(step)
  advance_to(prefix, run, step)
  local result, first = count_plain(), call('EXISTS', key) == 0
  call('HSET', key, '\255' .. token, result.shared) -- first: it is long, so Redis never takes the hash for a small one
  if payloads_sent ~= '' then call('HSET', key, '\254' .. token, payloads_sent) end
  if result.lengths ~= '' then call('HSET', key, '\253' .. token, result.lengths) end
  if first then call('HSET', key, REQUEST, packed_groups) else put_groups(key, packed_groups) end
  save_run(prefix, run)
  return success(step, result)
end

local groups, new, records, shared = read_groups(), {}, {}, {}
for _, g in ipairs(groups) do
  local tail = known[g.id]
  if not tail then
    new[#new + 1] = g
  else
    if digest_of(tail) ~= digest_of(g.tail) then return {1, 'group-conflict', g.id, integer(step)} end
    local other = string.sub(tail, 1, 8)
    local from = places and prefix .. 'g:' .. places[g.id] or key
    shared[other] = shared[other] or call('HMGET', from, '\255' .. other, '\254' .. other, '\253' .. other)
    g.record = join_group(tail, unpack(shared[other]))
    records[#records + 1] = g.record
  end
end
local unnamed = name_problems(step, new)
if unnamed then return {1, 'not-observed', unnamed, integer(step)} end
if #new == 0 then
  local step_level, mean = recorded_level(step, records)
  return success(step, {step_level = step_level, mean = mean, flags = is_stale and 1 or 0}, groups)
end

create(step)
local result
if is_stale then
  result = record_late_groups(step, new)
else
  advance_to(prefix, run, step)
  result = count(new)
end
local flat = {'\255' .. token, result.shared}
if payloads_sent ~= '' then flat[3], flat[4] = '\254' .. token, payloads_sent end
if result.lengths ~= '' then
  flat[#flat + 1] = '\253' .. token
  flat[#flat + 1] = result.lengths
end
for _, g in ipairs(new) do
  flat[#flat + 1] = g.id
  flat[#flat + 1] = g.tail
end
put(key, flat)
save_run(prefix, run)
return success(step, result, groups)
