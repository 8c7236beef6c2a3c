-- One training request: count each group once, answer with the state its reward is computed from.
-- KEYS[1] the run's meta. ARGV: step ('' for stepless, 'observed', or a number), epoch believed in, epoch met on
-- arrival, generation, request_id, request digest, config and its text for a run that does not exist yet, the packed
-- numbers of all groups, then for each group: group_id, problem_id ('' to take the observations'), and what its record
-- ends in: digest, length of the problem_id, the problem_id, payload.
-- Answers {0, epoch, step, created, config_text, step's level, mean P_g, level for beta, other accumulators before
-- the step, 1 where the new groups are stale, one digit a group (1: replayed), the packed states of the new groups'
-- problems before the step, then, a list, in order, of the whole record of a replayed group and the problem_id of a new
-- one where the caller left it out}; or {1, slug, facts...} with nothing changed.

local NUMBERS, NUMBERS_BYTES = '<I4I4BI4ddI4', 33
local P = string.sub(KEYS[1], 1, -2)

local epoch = epoch_of(P)
for i = 2, 3 do
  if ARGV[i] ~= '' and tonumber(ARGV[i]) ~= epoch then return {1, 'epoch-mismatch', integer(epoch), ARGV[i]} end
end
local m, created = load_meta(P), 0
if not m then
  if ARGV[7] == '' then return {1, 'unknown-run'} end
  m, created = fresh_meta(ARGV[7]), 1
end
local kind = ARGV[1] == '' and 'stepless' or 'stepped'
local untrained = m.kind == ''
if m.kind ~= '' and m.kind ~= kind then return {1, 'step-kind-mismatch', m.kind} end
m.kind = kind

local groups, ids = {}, {}
do
  local twice, place = {}, 0
  for i = 10, #ARGV, 3 do
    local id, tail = ARGV[i], ARGV[i + 2]
    if twice[id] then return {1, 'group-conflict', id, 'twice'} end
    twice[id] = true
    local size, passes, flags, truncated, tokens, correct, least =
      struct.unpack(NUMBERS, ARGV[9], NUMBERS_BYTES * place + 1)
    place = place + 1
    ids[place] = id
    groups[place] = {id = id, problem = ARGV[i + 1], tail = tail, size = size,
                           passes = passes, counts = flags % 2 == 1, known = flags >= 2, truncated = truncated,
                           tokens = tokens, correct = correct, least = least, state = false, record = false}
  end
end

-- A record: level, step's level, mean, flags, number of further accumulators, these, the problem's state, digest,
-- length of the problem_id, the problem_id, payload.
local function digest_of(record)
  local at = 26 + 8 * string.byte(record, 26) + STATE_BYTES
  return string.sub(record, at + 1, at + 16)
end

local function sent_digest(g) return string.sub(g.tail, 1, 16) end

local function head_of(record)
  local _, level, mean = struct.unpack('<ddd', record)
  return level, mean
end

local function known_at(step)
  local key = P .. 'g:' .. integer(step)
  return call('EXISTS', key) == 1 and fetch(key, ids) or {}
end

-- The step of a request that says "observed": where all its groups are recorded with this content, else the one
-- open step where all were observed.
local function observed_step()
  local retained = call('ZREVRANGE', P .. 's', 0, -1)
  if m.open then table.insert(retained, 1, integer(m.open)) end
  for _, step in ipairs(retained) do
    local known, same = known_at(step), true
    for _, g in ipairs(groups) do
      same = same and known[g.id] and digest_of(known[g.id]) == sent_digest(g)
    end
    if same then return tonumber(step) end
  end
  local found = {}
  for _, step in ipairs(waiting_steps(P, m)) do
    local observed, all = fetch(P .. 'o:' .. step, ids), true
    for _, id in ipairs(ids) do all = all and observed[id] end
    if all then found[#found + 1] = step end
  end
  if #found == 1 then return tonumber(found[1]) end
  return nil, found
end

-- Give each group without problem_id that of its observations; the first that has none, or nil.
local function name_problems(step, list)
  local missing = {}
  for _, g in ipairs(list) do
    if g.problem == '' then missing[#missing + 1] = g.id end
  end
  if #missing == 0 then return nil end
  local observed = fetch(P .. 'o:' .. integer(step), missing)
  for _, g in ipairs(list) do
    if g.problem == '' then
      if not observed[g.id] then return g.id end
      g.problem = unpack_observed(observed[g.id]).problem
      g.unnamed = true
      g.tail = sent_digest(g) .. struct.pack('<I2', #g.problem) .. g.problem .. string.sub(g.tail, 19)
    end
  end
end

local function request_mean(list)
  local by_size = {}
  for _, g in ipairs(list) do by_size[g.size] = (by_size[g.size] or 0) + g.passes end
  return mean_of(#list, by_size)
end

-- The records of groups that are new, given each problem's state; also what the answer says of each.
local function write_records(list, flags, level, step_level, mean, extras, states)
  local heads, records = {}, {}
  local more = #extras > 0 and struct.pack('<' .. string.rep('d', #extras), unpack(extras)) or ''
  for counts = 0, 1 do
    heads[counts] = struct.pack('<dddBB', level, step_level, mean, flags + 2 * counts, #extras) .. more
  end
  for i, g in ipairs(list) do
    local state = states[g.problem]
    records[2 * i - 1] = g.id
    records[2 * i] = heads[g.counts and 1 or 0] .. state .. g.tail
    g.state = state
  end
  return records
end

local function count(list)
  local counted, others, cells = {}, {}, load_cells(P, m)
  for _, g in ipairs(list) do
    if g.counts then
      add_cell(cells, tonumber(ARGV[4]), g)
      counted[#counted + 1] = g
    end
  end
  local states = touch(P, m, counted)
  for _, g in ipairs(list) do
    if not states[g.problem] then others[#others + 1] = g.problem end
  end
  for id, state in pairs(problems_before(P, m, m.open, others)) do states[id] = state end
  save_cells(P, cells)
  local after, mean = accumulate(m, cells)
  mean = mean or request_mean(list)
  local level = m.config.reference == 'previous' and m.start[1] or after[1]
  local extras = {unpack(m.start, 2)}
  return write_records(list, 0, level, after[1], mean, extras, states), level, after[1], mean, extras
end

local function stale(step, list)
  local record = get_step(P, step)
  if not record then
    -- A step that never opened and lies before one that did: it leaves the accumulators as they were.
    local earlier = call('ZREVRANGEBYSCORE', P .. 's', '(' .. integer(step), '-inf', 'LIMIT', 0, 1)[1]
    local last = get_step(P, tonumber(earlier or m.pruned))
    local values = last and last.after or fresh_meta(call('HGET', P .. 'm', 'config')).values
    record = {integers = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, before = values, after = values}
    m.first = math.min(m.first or step, step)
  end
  record.integers[8] = record.integers[8] + #list
  local problems = {}
  for i, g in ipairs(list) do problems[i] = g.problem end
  local states = problems_before(P, m, step, problems)
  put_step(P, step, record)
  local level = m.config.reference == 'previous' and record.before[1] or record.after[1]
  local mean, extras = record.mean or request_mean(list), {unpack(record.before, 2)}
  return write_records(list, 1, level, record.after[1], mean, extras, states), level, record.after[1], mean, extras
end

-- Level and mean of an answer that is all replay: as first answered, where its records agree on it.
local function standing(step, records)
  local level, mean = head_of(records[1])
  for i = 2, #records do
    local other_level, other_mean = head_of(records[i])
    if other_level ~= level or other_mean ~= mean then
      if step == m.open then
        local after, now = accumulate(m, load_cells(P, m))
        if now then return after[1], now end
      else
        local record = get_step(P, step)
        if record and record.mean then return record.after[1], record.mean end
      end
      return level, mean
    end
  end
  return level, mean
end

local function answer(step, step_level, mean, level, extras, is_stale)
  used(P)
  local config_text = created == 1 and ARGV[8] or call('HGET', P .. 'm', 'config_text')
  local replayed, states, entries = {}, {}, {}
  for i, g in ipairs(groups) do
    replayed[i] = g.record and '1' or '0'
    if g.record then
      entries[#entries + 1] = g.record
    else
      states[#states + 1] = g.state
      if g.unnamed then entries[#entries + 1] = g.problem end
    end
  end
  return {0, integer(epoch), integer(step), created, config_text, double(step_level), double(mean), double(level),
          join(extras), is_stale and 1 or 0, table.concat(replayed), table.concat(states), entries}
end

local function create()
  if created == 1 then
    call('HSET', P .. 'm', 'config', ARGV[7], 'config_text', ARGV[8])
  end
  if untrained then keep_observations(P) end
end

if kind == 'stepless' then
  local request, step = call('HGET', P .. 'q', ARGV[5]), nil
  if request then
    if string.sub(request, 1, 16) ~= ARGV[6] then return {1, 'group-conflict', ARGV[5], 'request'} end
    step = struct.unpack('<d', request, 17)
    local records, at = {}, 25
    while at <= #request do
      local length = struct.unpack('<I4', request, at)
      records[#records + 1] = string.sub(request, at + 4, at + 3 + length)
      at = at + 4 + length
    end
    local step_level, mean = standing(step, records)
    for i, record in ipairs(records) do groups[i].record = record end
    return answer(step, step_level, mean, 0, {}, false)
  end
  step = m.open or m.closed + 1
  local unnamed = name_problems(step, groups)
  if unnamed then return {1, 'not-observed', unnamed, integer(step)} end
  create()
  advance_to(P, m, step)
  local records, level, step_level, mean, extras = count(groups)
  local parts = {ARGV[6], struct.pack('<d', step)}
  for i = 2, #records, 2 do
    parts[#parts + 1] = struct.pack('<I4', #records[i])
    parts[#parts + 1] = records[i]
  end
  m.sequence = m.sequence + 1
  call('HSET', P .. 'q', ARGV[5], table.concat(parts))
  call('ZADD', P .. 'qs', integer(m.sequence), ARGV[5])
  for _, old in ipairs(call('ZRANGE', P .. 'qs', 0, -10001)) do
    call('HDEL', P .. 'q', old)
    call('ZREM', P .. 'qs', old)
  end
  local total = 0
  for _, c in pairs(m.cells) do total = total + c.groups end
  local per_step = m.config.groups_per_step
  if per_step == cjson.null or total >= per_step then close(P, m) end
  save_meta(P, m)
  return answer(step, step_level, mean, level, extras, false)
end

local step, several = tonumber(ARGV[1]), nil
if not step then
  step, several = observed_step()
  if not step then return {1, 'not-observed', '', table.concat(several, ' ')} end
end
if step <= m.pruned then
  return {1, 'step-too-old', integer(step), integer(m.pruned), integer(m.config.keep_steps)}
end
local known, new, records = known_at(step), {}, {}
for _, g in ipairs(groups) do
  local record = known[g.id]
  if not record then
    new[#new + 1] = g
  else
    if digest_of(record) ~= sent_digest(g) then return {1, 'group-conflict', g.id, integer(step)} end
    g.record = record
    records[#records + 1] = record
  end
end
local unnamed = name_problems(step, new)
if unnamed then return {1, 'not-observed', unnamed, integer(step)} end

local level, step_level, mean, extras, is_stale = 0, nil, nil, {}, step <= m.closed
if #new == 0 then
  step_level, mean = standing(step, records)
else
  create()
  local fresh
  if is_stale then
    fresh, level, step_level, mean, extras = stale(step, new)
  else
    advance_to(P, m, step)
    fresh, level, step_level, mean, extras = count(new)
  end
  put(P .. 'g:' .. integer(step), fresh)
  save_meta(P, m)
end
return answer(step, step_level, mean, level, extras, is_stale)
