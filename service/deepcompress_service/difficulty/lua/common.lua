-- What every script of the difficulty state shares; it is put before each of them when they are loaded.
-- Semantics: design, sections 5.1 to 5.8; the same in Python: engine.py, steps.py, arithmetic.py, codec.py.
--
-- Keys of a run, all under one hash tag, P = dc:{run}: (a checkpoint's: dc:{run}:c:NAME:)
--   P m         meta: config, kind, the open step, ...    hash
--   P t         tallies of the open step                  hash  generation:size:passes -> integers
--   P h         history                                   hash  step -> mean|integers|before|after
--   P s         closed steps whose records are kept       zset
--   P p         problems                                  hash  problem_id -> state before + tally of its last step
--   P g:STEP    groups                                    hash  group_id -> what it was answered from
--   P u:STEP    undo: problems before that step           hash  problem_id -> record
--   P n:STEP    undo: further problems of the step, whose record's state before it says all; packed names     list
--   P w         steps with observations                   zset
--   P o:STEP    observed groups                           hash  group_id -> tallies, problem_id
--   P r:STEP    observed rollouts of a step not closed    hash  length:group_id rollout_id -> content
--   P q, P qs   stepless requests and their order         hash, zset
--   dc:{run}:e  the epoch; outlives the run               string
--   dc:{run}:a  when the run was last used, in seconds    string
--   dc:{run}:c  checkpoints                               hash  name -> step level problems epoch bytes
-- Doubles in text are %.17g, in binary their 8 bytes: nothing is rounded.

local STATE, STATE_BYTES = '<I4I4dddI4BI4dI4d', 61
local TALLY = '<dI4I4I4dI4'
local OBSERVED, OBSERVED_BYTES = '<I4I4I4I4ddI4Bd', 45
local SCHEMA = 1
local NONE, RATIO_ONE = 4294967295, 1073741824
local EMPTY = struct.pack(STATE, 0, 0, 0, 0, 0, 0, 0, NONE, 0, 0, -1)
local call = redis.call

local function integer(x) return string.format('%.0f', x) end
local function double(x) return string.format('%.17g', x) end

local function numbers(text)
  local found = {}
  for word in string.gmatch(text, '[^ ,]+') do found[#found + 1] = tonumber(word) end
  return found
end

local function join(list)
  local words = {}
  for i, x in ipairs(list) do words[i] = double(x) end
  return table.concat(words, ' ')
end

-- Fields of a hash by name: field -> value, missing ones left out. Lua's stack bounds one call's arguments.
local function fetch(key, fields)
  local found = {}
  for from = 1, #fields, 4000 do
    local to = math.min(from + 3999, #fields)
    local values = call('HMGET', key, unpack(fields, from, to))
    for i = from, to do
      local value = values[i - from + 1]
      if value then found[fields[i]] = value end
    end
  end
  return found
end

-- flat: field, value, field, value, ...
local function put(key, flat)
  for from = 1, #flat, 4000 do
    call('HSET', key, unpack(flat, from, math.min(from + 3999, #flat)))
  end
end

local function pairs_of(key)
  local flat, found = call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local META = {'config', 'schema', 'kind', 'open', 'closed', 'pruned', 'first', 'values', 'start', 'problems', 'ratio_sum',
              'sequence'}

local function fresh_meta(config)
  local m = {config = cjson.decode(config), kind = '', closed = -1, pruned = -1, problems = 0, ratio_sum = 0,
             sequence = 0, values = {}}
  m.values[1] = m.config.level.initial
  m.dataset = m.config.reference == 'dataset'
  for i, extra in ipairs(m.config.extra) do m.values[i + 1] = extra.initial end
  m.start = m.values
  return m
end

local function load_meta(P)
  local f = call('HMGET', P .. 'm', unpack(META))
  if not f[1] then return nil end
  if tonumber(f[2]) > SCHEMA then error('STORETOONEW ' .. f[2]) end
  local config = cjson.decode(f[1])
  return {config = config, dataset = config.reference == 'dataset', kind = f[3], open = tonumber(f[4]), closed = tonumber(f[5]),
          pruned = tonumber(f[6]), first = tonumber(f[7]), values = numbers(f[8]), start = numbers(f[9]),
          problems = tonumber(f[10]), ratio_sum = tonumber(f[11]), sequence = tonumber(f[12])}
end

local function save_meta(P, m)
  call('HSET', P .. 'm', 'schema', SCHEMA, 'kind', m.kind, 'open', m.open and integer(m.open) or '', 'closed', integer(m.closed),
       'pruned', integer(m.pruned), 'first', m.first and integer(m.first) or '', 'values', join(m.values),
       'start', join(m.start), 'problems', integer(m.problems), 'ratio_sum', integer(m.ratio_sum),
       'sequence', integer(m.sequence))
end

local function epoch_of(tag) return tonumber(call('GET', tag .. 'e') or '0') end

-- Somebody uses the run now, by Redis' own clock: sweep.lua forgets runs that nobody used for long.
local function used(tag) call('SET', tag .. 'a', call('TIME')[1]) end

-- Observations of a run that was never trained wait for so many seconds, all alike; of one that was (nil), for as
-- long as it lives: they are going to count.
local function keep_observations(P, seconds)
  local keys = {P .. 'w'}
  for _, step in ipairs(call('ZRANGE', P .. 'w', 0, -1)) do
    keys[#keys + 1] = P .. 'o:' .. step
    keys[#keys + 1] = P .. 'r:' .. step
  end
  for _, key in ipairs(keys) do
    if seconds then call('EXPIRE', key, seconds) else call('PERSIST', key) end
  end
end

-- Cells: groups of the open step that share generation, size and passes.

local function load_cells(P, m)
  if m.cells then return m.cells end
  m.cells = {}
  for key, value in pairs(pairs_of(P .. 't')) do
    local generation, size, passes = string.match(key, '^(%d+):(%d+):(%d+)$')
    local n = numbers(value)
    m.cells[key] = {generation = tonumber(generation), size = tonumber(size), passes = tonumber(passes), groups = n[1],
                    truncated = n[2], tokens = n[3], tokens_count = n[4], correct = n[5], correct_count = n[6]}
  end
  return m.cells
end

local function add_cell(cells, generation, g)
  local key = integer(generation) .. ':' .. integer(g.size) .. ':' .. integer(g.passes)
  local cell = cells[key]
  if not cell then
    cell = {generation = generation, size = g.size, passes = g.passes, groups = 0, truncated = 0, tokens = 0,
            tokens_count = 0, correct = 0, correct_count = 0}
    cells[key] = cell
  end
  cell.changed = true
  cell.groups = cell.groups + 1
  cell.truncated = cell.truncated + g.truncated
  if g.known then
    cell.tokens = cell.tokens + g.tokens
    cell.tokens_count = cell.tokens_count + g.size
    cell.correct = cell.correct + g.correct
    cell.correct_count = cell.correct_count + g.passes
  end
end

local function save_cells(P, cells)
  local flat = {}
  for key, c in pairs(cells) do
    if c.changed then
      flat[#flat + 1] = key
      flat[#flat + 1] = table.concat({integer(c.groups), integer(c.truncated), integer(c.tokens),
                                      integer(c.tokens_count), integer(c.correct), integer(c.correct_count)}, ',')
    end
  end
  put(P .. 't', flat)
end

-- The mean of P_g from passes by group size: sizes ascending, one division a size, one at the end.
local function mean_of(groups, passes_by_size)
  if groups == 0 then return nil end
  local sizes, total = {}, 0
  for size in pairs(passes_by_size) do sizes[#sizes + 1] = size end
  table.sort(sizes)
  for _, size in ipairs(sizes) do total = total + passes_by_size[size] / size end
  return total / groups
end

-- The accumulators after a step whose groups are these cells, and its mean P_g (nil where no group counts).
local function accumulate(m, cells)
  local config, greatest = m.config, nil
  if config.step_level == 'last' then
    for _, c in pairs(cells) do greatest = math.max(greatest or 0, c.generation) end
  end
  local groups, rollouts, correct, by_size = 0, 0, 0, {}
  for _, c in pairs(cells) do
    if not greatest or c.generation == greatest then
      groups = groups + c.groups
      rollouts = rollouts + c.size * c.groups
      correct = correct + c.passes * c.groups
      by_size[c.size] = (by_size[c.size] or 0) + c.passes * c.groups
    end
  end
  local mean = mean_of(groups, by_size)
  if not mean then return m.start, nil end
  local accuracy, after = correct / rollouts, {}
  for i, x in ipairs(m.start) do
    local a = i == 1 and config.level or config.extra[i - 1]
    if i == 1 and config.reference == 'dataset' then after[i] = x
    elseif a.kind == 'ema' then after[i] = a.weight * x + (1 - a.weight) * mean
    elseif a.kind == 'max' then after[i] = math.max(x, accuracy)
    else after[i] = math.max(0, x + a.weight * (accuracy - a.target)) end
  end
  return after, mean
end

-- Steps as they stand in the history: mean|16 integers|before|after.

local function parse_step(text)
  local mean, integers, before, after = string.match(text, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
  return {mean = tonumber(mean), integers = numbers(integers), before = numbers(before), after = numbers(after)}
end

local function format_step(r)
  local words = {}
  for i, x in ipairs(r.integers) do words[i] = integer(x) end
  return (r.mean and double(r.mean) or '-') .. '|' .. table.concat(words, ',') .. '|' .. join(r.before) .. '|'
         .. join(r.after)
end

local function get_step(P, step)
  local text = call('HGET', P .. 'h', integer(step))
  return text and parse_step(text)
end

local function put_step(P, step, record)
  call('HSET', P .. 'h', integer(step), format_step(record))
  call('ZADD', P .. 's', integer(step), integer(step))
end

-- The open step's record as it would be if it closed with the groups it has.
local function finish(m, cells, observed_groups)
  local after, mean = accumulate(m, cells)
  local n = {0, 0, 0, 0, 0, 0, observed_groups, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for _, c in pairs(cells) do
    n[1] = n[1] + c.groups
    n[2] = n[2] + c.size * c.groups
    n[3] = n[3] + c.passes * c.groups
    n[6] = n[6] + c.truncated
    n[9] = n[9] + c.tokens
    n[10] = n[10] + c.tokens_count
    n[11] = n[11] + c.correct
    n[12] = n[12] + c.correct_count
    local beta = c.passes / c.size - after[1]
    if beta > 0 then
      n[4] = n[4] + c.groups
      n[13] = n[13] + c.tokens
      n[14] = n[14] + c.tokens_count
    elseif beta < 0 then
      n[5] = n[5] + c.groups
      n[15] = n[15] + c.tokens
      n[16] = n[16] + c.tokens_count
    end
  end
  return {mean = mean, integers = n, before = m.start, after = after}
end

-- The levels at the end of steps: step -> level. The open one's is as it stands.
local function levels_of(P, m, steps)
  local fields, levels = {}, {}
  for step in pairs(steps) do
    if step == m.open then
      levels[step] = accumulate(m, load_cells(P, m))[1]
    elseif step >= 0 then
      fields[#fields + 1] = integer(step)
    end
  end
  for field, text in pairs(fetch(P .. 'h', fields)) do
    levels[tonumber(field)] = tonumber(string.match(text, '|([^| ]+)[^|]*$'))
  end
  return levels
end

-- Problems.

local function unpack_problem(raw)
  local r = {raw = raw}
  r.attempts, r.passes, r.ratio, r.last, r.beta, r.turns, r.flags, r.shortest, r.sum, r.count, r.step =
    struct.unpack(STATE, raw)
  r.tstep, r.tattempts, r.tpasses = struct.unpack(TALLY, raw, STATE_BYTES + 1)
  return r
end

local function step_of(raw) return (struct.unpack('<d', raw, STATE_BYTES + 1)) end

local function smoothed(known, ratio, newest, weight)
  if not known then return newest end
  return (1 - weight) * ratio + weight * newest
end

-- A problem's part in the sum over all problems, which only `reference: "dataset"` needs: its smoothed pass ratio,
-- its tally counted, in units of 2^-30.
local function counted_ratio(m, raw)
  if not m.dataset then return 0 end
  local r = unpack_problem(raw)
  local ratio, known = r.ratio, r.flags % 2 == 1
  if r.tattempts > 0 then
    ratio = smoothed(known, ratio, r.tpasses / r.tattempts, m.config.problem_weight)
  elseif not known then
    return 0
  end
  return math.floor(ratio * RATIO_ONE + 0.5)
end

-- A problem after the step of its tally, packed.
local function fold(raw, weight, level)
  local tstep, tattempts, tpasses, tshortest, tsum, tcount = struct.unpack(TALLY, raw, STATE_BYTES + 1)
  if tattempts == 0 then return string.sub(raw, 1, STATE_BYTES) end
  local attempts, passes, ratio, _, _, turns, flags, shortest, sum, count = struct.unpack(STATE, raw)
  local last = tpasses / tattempts
  local beta, before = last - level, math.floor(flags / 4)
  local side = beta > 0 and 1 or beta < 0 and 2 or before
  return struct.pack(STATE, attempts + tattempts, passes + tpasses, smoothed(flags % 2 == 1, ratio, last, weight), last,
                     beta, turns + ((before ~= 0 and side ~= before) and 1 or 0), 3 + 4 * side,
                     math.min(shortest, tshortest), sum + tsum, count + tcount, tstep)
end

-- Problems as they stood before a step, packed, following their records back through the undo of later steps.
local function problems_before(P, m, step, ids)
  local states, wanted, records = {}, {}, {}
  local found = fetch(P .. 'p', ids)
  for _, id in ipairs(ids) do
    local raw = found[id]
    if not raw then
      states[id] = EMPTY
    else
      local r = unpack_problem(raw)
      while r.step >= step do r = unpack_problem(call('HGET', P .. 'u:' .. integer(r.tstep), id)) end
      if r.tstep >= step then
        states[id] = string.sub(r.raw, 1, STATE_BYTES)
      else
        records[id] = r
        wanted[r.tstep] = true
      end
    end
  end
  local levels = levels_of(P, m, wanted)
  for id, r in pairs(records) do states[id] = fold(r.raw, m.config.problem_weight, levels[r.tstep] or 0) end
  return states
end

-- Add groups of the open step to their problems; each problem as it stood before the step, packed, by id.
local function touch(P, m, groups)
  local ids, place = {}, {}
  for _, g in ipairs(groups) do
    if not place[g.problem] then
      ids[#ids + 1] = g.problem
      place[g.problem] = #ids
    end
  end
  local found, wanted, before, undo, names = fetch(P .. 'p', ids), {}, {}, {}, {}
  local attempts, passes, shortest, sums, counts = {}, {}, {}, {}, {}
  local steps = {}
  for id, raw in pairs(found) do
    local step = step_of(raw)
    steps[id] = step
    if step ~= m.open then wanted[step] = true end
  end
  local levels, weight, _ = levels_of(P, m, wanted), m.config.problem_weight, nil
  for i, id in ipairs(ids) do
    local raw, step = found[id], steps[id]
    if raw then m.ratio_sum = m.ratio_sum - counted_ratio(m, raw) end
    if step == m.open then
      before[id] = string.sub(raw, 1, STATE_BYTES)
      _, attempts[i], passes[i], shortest[i], sums[i], counts[i] = struct.unpack(TALLY, raw, STATE_BYTES + 1)
    else
      attempts[i], passes[i], shortest[i], sums[i], counts[i] = 0, 0, NONE, 0, 0
      if raw and step > m.pruned then
        undo[#undo + 1] = id
        undo[#undo + 1] = raw
      else
        names[#names + 1] = struct.pack('<I2', #id) .. id
      end
      if raw then
        before[id] = fold(raw, weight, levels[step] or 0)
      else
        before[id] = EMPTY
        m.problems = m.problems + 1
      end
    end
  end
  for _, g in ipairs(groups) do
    local i = place[g.problem]
    attempts[i] = attempts[i] + g.size
    passes[i] = passes[i] + g.passes
    if g.known then
      sums[i] = sums[i] + g.correct
      counts[i] = counts[i] + g.passes
      if g.least < shortest[i] then shortest[i] = g.least end
    end
  end
  local flat = {}
  for i, id in ipairs(ids) do
    local raw = before[id] .. struct.pack(TALLY, m.open, attempts[i], passes[i], shortest[i], sums[i], counts[i])
    flat[2 * i - 1] = id
    flat[2 * i] = raw
    m.ratio_sum = m.ratio_sum + counted_ratio(m, raw)
  end
  put(P .. 'p', flat)
  put(P .. 'u:' .. integer(m.open), undo)
  if #names > 0 then call('RPUSH', P .. 'n:' .. integer(m.open), table.concat(names)) end
  return before
end

-- Opening and closing steps.

local function forget_records(P, step)
  local n = integer(step)
  call('UNLINK', P .. 'g:' .. n, P .. 'u:' .. n, P .. 'n:' .. n, P .. 'o:' .. n, P .. 'r:' .. n)
  call('ZREM', P .. 'w', n)
  call('ZREM', P .. 's', n)
end

local function open_step(P, m, step)
  m.open, m.closed, m.first = step, step - 1, math.min(m.first or step, step)
  m.start = m.values
  if m.config.reference == 'dataset' and m.problems > 0 then
    m.start = {unpack(m.values)}
    m.start[1] = m.ratio_sum / RATIO_ONE / m.problems
  end
  m.cells = {}
  local kept = call('ZCARD', P .. 's')
  if kept >= m.config.keep_steps then
    for _, old in ipairs(call('ZRANGE', P .. 's', 0, kept - m.config.keep_steps)) do
      forget_records(P, tonumber(old))
      m.pruned = tonumber(old)
    end
  end
end

local function unpack_observed(raw)
  local g = {}
  local counts, known
  g.size, g.passes, g.truncated, known, g.tokens, g.correct, g.least, counts, g.generation =
    struct.unpack(OBSERVED, raw)
  g.counts, g.tokens_known, g.known = counts == 1, known, known == g.size
  g.problem = string.sub(raw, OBSERVED_BYTES + 1)
  return g
end

-- Close the open step: groups that were observed and never shaped count, then its level is final.
local function close(P, m)
  local n, counted = integer(m.open), {}
  local cells = load_cells(P, m)
  if m.kind == 'stepped' then
    local observed, ids = pairs_of(P .. 'o:' .. n), {}
    for id in pairs(observed) do ids[#ids + 1] = id end
    table.sort(ids)
    local shaped = fetch(P .. 'g:' .. n, ids)
    for _, id in ipairs(ids) do
      if not shaped[id] then
        local g = unpack_observed(observed[id])
        if g.counts then
          add_cell(cells, g.generation, g)
          counted[#counted + 1] = g
        end
      end
    end
    if #counted > 0 then touch(P, m, counted) end
  end
  call('UNLINK', P .. 'r:' .. n, P .. 't')
  local record = finish(m, cells, #counted)
  put_step(P, m.open, record)
  m.values, m.closed, m.open, m.cells = record.after, m.open, nil, {}
end

local function waiting_steps(P, m)
  return call('ZRANGEBYSCORE', P .. 'w', '(' .. integer(m.closed), '+inf')
end

-- Close every step before this one, those included of which only observations are known.
local function close_before(P, m, step)
  if m.open and m.open < step then close(P, m) end
  if m.kind ~= 'stepped' then return end
  for _, waiting in ipairs(waiting_steps(P, m)) do
    if tonumber(waiting) < step then
      open_step(P, m, tonumber(waiting))
      close(P, m)
    end
  end
end

local function advance_to(P, m, step)
  if m.open ~= step then
    close_before(P, m, step)
    open_step(P, m, step)
  end
end
