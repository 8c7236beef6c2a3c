-- One training request: count each group once, answer with the state its reward is computed from.
-- KEYS[1] the run's meta. ARGV: step ('' for stepless, 'observed', or a number), epoch believed in, epoch met on
-- arrival, generation, request_id, request digest, config and its text for a run that does not exist yet, a group_id
-- that is in the request twice (or ''), '1' where the request is plain (every group counts and has a problem_id that
-- no other has), the request's token, the packed cells that its groups make, the packed numbers of all groups, the
-- problem_id of each group ('' to take the observations'; the whole argument '' where every one is the group_id), and the
-- group_id and the tail of each group; these two are strings behind their lengths, in one argument, since Redis takes longer
-- for a thousand arguments than Lua for cutting one. A tail is stored as it is: token, place in the request, whether it
-- counts, digest, length of the problem_id, the problem_id. The last argument are the payloads of all groups, which stay
-- one string ('' where there are none): where each begins and the last ends, then the payloads. The groups of a request share
-- two more fields: \254 and the token, with these payloads; \255 and the token, with what the groups were answered from:
-- level, step's level, mean, flags, number of further accumulators, these, then the problem's state before the step by place.
-- Answers {0, epoch, step, created, config_text, step's level, mean P_g, 1 where the new groups are stale, one digit a
-- group (1: replayed; none where all are new), what the new groups share ('' where none is), then, a list, in order, of
-- the whole record of a replayed group and the problem_id of a new one where the caller left it out}; or {1, slug,
-- facts...} with nothing changed.
-- A whole record: level, step's level, mean, flags, number of further accumulators, these, the problem's state, digest,
-- length of the problem_id, the problem_id, payload.

local NUMBERS, NUMBERS_BYTES = '<I4I4I4dI4BI4d', 37 -- begins as ADDED does
local CELL, CELL_BYTES = '<I4I4I4ddddd', 52
local HEAD, HEAD_BYTES = '<dddBB', 26
local TOKEN, PAYLOADS, n = ARGV[11], ARGV[16], #ARGV[13] / NUMBERS_BYTES -- n: how many groups

-- `count` strings, each behind its length; `one` is the format of a few of them. Lua's stack bounds one call's results.
local function cut_up(packed, count, one, of_one)
  local found, at, most = {}, 1, 500 * of_one
  for from = 1, count, most do
    local some = math.min(most, count - from + 1)
    local cut = {struct.unpack('<' .. string.rep(one, some / of_one), packed, at)}
    at = cut[some + 1]
    if from == 1 then
      found = cut
      found[some + 1] = nil
    else
      for i = 1, some do found[from + i - 1] = cut[i] end
    end
  end
  return found
end

local SENT, IDS = cut_up(ARGV[15], 2 * n, 'I2c0I4c0', 2), {} -- group_id, tail, group_id, tail, ...
for i = 1, n do IDS[i] = SENT[2 * i - 1] end
local PROBLEMS = ARGV[14] == '' and IDS or cut_up(ARGV[14], n, 'I2c0', 1)
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
if m.kind ~= '' and m.kind ~= kind then return {1, 'step-kind-mismatch', m.kind} end
local untrained = m.kind == ''
m.kind = kind
if ARGV[9] ~= '' then return {1, 'group-conflict', ARGV[9], 'twice'} end

-- The groups one by one, for requests that are not all new and plain.
local function read_groups()
  local groups = {}
  for i = 1, n do
    local size, passes, least, correct, _, flags, truncated, tokens =
      struct.unpack(NUMBERS, ARGV[13], NUMBERS_BYTES * (i - 1) + 1)
    groups[i] = {place = i, id = IDS[i], tail = SENT[2 * i], problem = PROBLEMS[i], size = size, passes = passes,
                 counts = flags % 2 == 1, known = flags >= 2, truncated = truncated, tokens = tokens, correct = correct,
                 least = least, record = false}
  end
  return groups
end

local function digest_of(tail) return string.sub(tail, 14, 29) end

-- The whole record of a group, from what it was sent as, what its request was answered from, and the request's payloads.
-- A group that was imported has its payload at the end of its tail.
local function whole(tail, shared, payloads)
  local level, step_level, mean, flags, extras = struct.unpack(HEAD, shared)
  local place, counts = struct.unpack('<I4B', tail, 9)
  local states = HEAD_BYTES + 8 * extras
  local at = states + STATE_BYTES * place
  local head, payload = struct.pack(HEAD, level, step_level, mean, flags + 2 * counts, extras), ''
  if payloads and payloads ~= '' then
    local from, to = struct.unpack('<I4I4', payloads, 4 * place + 1)
    payload = string.sub(payloads, from + 1, to)
  end
  return head .. string.sub(shared, HEAD_BYTES + 1, states) .. string.sub(shared, at + 1, at + STATE_BYTES)
         .. string.sub(tail, 14) .. payload
end

local function head_of(record)
  local _, level, mean = struct.unpack('<ddd', record)
  return level, mean
end

local function known_at(step)
  local key, known = P .. 'g:' .. integer(step), {}
  if call('EXISTS', key) == 0 then return known end
  return fetch(key, IDS)
end

-- The step of a request that says "observed": where all its groups are recorded with this content, else the one
-- open step where all were observed.
local function observed_step()
  local retained = call('ZREVRANGE', P .. 's', 0, -1)
  if m.open then table.insert(retained, 1, integer(m.open)) end
  for _, step in ipairs(retained) do
    local known, same = known_at(step), true
    for i = 1, n do
      local tail = known[IDS[i]]
      same = same and tail and digest_of(tail) == digest_of(SENT[2 * i])
    end
    if same then return tonumber(step) end
  end
  local found = {}
  for _, step in ipairs(waiting_steps(P, m)) do
    local all = true
    for _, id in ipairs(IDS) do all = all and call('HEXISTS', P .. 'o:' .. step, id) == 1 end
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
      g.tail = string.sub(g.tail, 1, 29) .. struct.pack('<I2', #g.problem) .. g.problem .. string.sub(g.tail, 32)
    end
  end
end

local function request_mean(list)
  local by_size = {}
  for _, g in ipairs(list) do by_size[g.size] = (by_size[g.size] or 0) + g.passes end
  return mean_of(#list, by_size)
end

-- What the answer says, and what the groups of this request share.
local function answered(flags, level, step_level, mean, extras, states)
  local more = #extras > 0 and struct.pack('<' .. string.rep('d', #extras), unpack(extras)) or ''
  local head = struct.pack(HEAD, level, step_level, mean, flags, #extras) .. more
  states[1] = head .. states[1] -- joined once: Lua hashes every byte of each string that it makes
  return {step_level = step_level, mean = mean, flags = flags, shared = table.concat(states)}
end

-- States by place, from states by problem; places of groups that are not in the list stay empty.
local function placed(list, by_problem)
  local states = {}
  for i = 1, n do states[i] = EMPTY end
  for _, g in ipairs(list) do states[g.place] = by_problem[g.problem] end
  return states
end

-- The step as it stands once groups were added to its cells.
local function stand(cells, list, states)
  save_cells(P, cells)
  local after, mean = accumulate(m, cells)
  local level = m.config.reference == 'previous' and m.start[1] or after[1]
  return answered(0, level, after[1], mean or request_mean(list), {unpack(m.start, 2)}, states)
end

-- Count all groups of a plain request: what Python could work out ahead is in ARGV.
local function count_plain()
  local cells, generation, packed = load_cells(P, m), tonumber(ARGV[4]), ARGV[12]
  for at = 1, #packed, CELL_BYTES do
    add_cell(cells, generation, struct.unpack(CELL, packed, at))
  end
  return stand(cells, nil, touch(P, m, PROBLEMS, ARGV[13], NUMBERS_BYTES))
end

-- Count these groups, where not all are new and plain.
local function count(list)
  local counted, others, by_problem, cells = {}, {}, {}, load_cells(P, m)
  for _, g in ipairs(list) do
    if g.counts then
      add_group(cells, tonumber(ARGV[4]), g)
      counted[#counted + 1] = g
    end
  end
  local ids, states = touch_all(P, m, counted)
  for i, id in ipairs(ids) do by_problem[id] = states[i] end
  for _, g in ipairs(list) do
    if not by_problem[g.problem] then others[#others + 1] = g.problem end
  end
  for id, state in pairs(problems_before(P, m, m.open, others)) do by_problem[id] = state end
  return stand(cells, list, placed(list, by_problem))
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
  local by_problem = problems_before(P, m, step, problems)
  put_step(P, step, record)
  local level = m.config.reference == 'previous' and record.before[1] or record.after[1]
  return answered(1, level, record.after[1], record.mean or request_mean(list), {unpack(record.before, 2)},
                  placed(list, by_problem))
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

local function answer(step, said, groups)
  used(P)
  local config_text = created == 1 and ARGV[8] or call('HGET', P .. 'm', 'config_text')
  local replayed, entries = {}, {}
  for i, g in ipairs(groups or {}) do
    replayed[i] = g.record and '1' or '0'
    if g.record then
      entries[#entries + 1] = g.record
    elseif g.unnamed then
      entries[#entries + 1] = g.problem
    end
  end
  return {0, integer(epoch), integer(step), created, config_text, double(said.step_level), double(said.mean),
          said.flags or 0, table.concat(replayed), said.shared or '', entries}
end

local function create()
  if created == 1 then
    call('HSET', P .. 'm', 'config', ARGV[7], 'config_text', ARGV[8])
  end
  if untrained then keep_observations(P) end
end

if kind == 'stepless' then
  local request, step, groups = call('HGET', P .. 'q', ARGV[5]), nil, read_groups()
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
    return answer(step, {step_level = step_level, mean = mean}, groups)
  end
  step = m.open or m.closed + 1
  local unnamed = name_problems(step, groups)
  if unnamed then return {1, 'not-observed', unnamed, integer(step)} end
  create()
  advance_to(P, m, step)
  local said = ARGV[10] == '1' and count_plain() or count(groups)
  local parts = {ARGV[6], struct.pack('<d', step)}
  for _, g in ipairs(groups) do
    local record = whole(g.tail, said.shared, PAYLOADS)
    parts[#parts + 1] = struct.pack('<I4', #record)
    parts[#parts + 1] = record
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
  return answer(step, said, groups)
end

local step, several = tonumber(ARGV[1]), nil
if not step then
  step, several = observed_step()
  if not step then return {1, 'not-observed', '', table.concat(several, ' ')} end
end
if step <= m.pruned then
  return {1, 'step-too-old', integer(step), integer(m.pruned), integer(m.config.keep_steps)}
end
local key, known, is_stale = P .. 'g:' .. integer(step), known_at(step), step <= m.closed

if ARGV[10] == '1' and not is_stale and not next(known) then
  create()
  advance_to(P, m, step)
  local said = count_plain()
  call('HSET', key, '\255' .. TOKEN, said.shared) -- first: it is long, so Redis never takes the hash for a small one
  if PAYLOADS ~= '' then call('HSET', key, '\254' .. TOKEN, PAYLOADS) end
  put(key, SENT)
  save_meta(P, m)
  return answer(step, said)
end

local groups, new, records, shared = read_groups(), {}, {}, {}
for _, g in ipairs(groups) do
  local tail = known[g.id]
  if not tail then
    new[#new + 1] = g
  else
    if digest_of(tail) ~= digest_of(g.tail) then return {1, 'group-conflict', g.id, integer(step)} end
    local token = string.sub(tail, 1, 8)
    shared[token] = shared[token] or call('HMGET', key, '\255' .. token, '\254' .. token)
    g.record = whole(tail, unpack(shared[token]))
    records[#records + 1] = g.record
  end
end
local unnamed = name_problems(step, new)
if unnamed then return {1, 'not-observed', unnamed, integer(step)} end
if #new == 0 then
  local step_level, mean = standing(step, records)
  return answer(step, {step_level = step_level, mean = mean, flags = is_stale and 1 or 0}, groups)
end

create()
local said
if is_stale then
  said = stale(step, new)
else
  advance_to(P, m, step)
  said = count(new)
end
local flat = {'\255' .. TOKEN, said.shared}
if PAYLOADS ~= '' then flat[3], flat[4] = '\254' .. TOKEN, PAYLOADS end
for _, g in ipairs(new) do
  flat[#flat + 1] = g.id
  flat[#flat + 1] = g.tail
end
put(key, flat)
save_meta(P, m)
return answer(step, said, groups)
