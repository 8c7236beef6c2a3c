-- What every script of the difficulty state shares; it is put before each of them when they are loaded.
-- Semantics: docs/design.md, 5.1 to 5.8; the same in Python: engine.py, steps.py, arithmetic.py, codec.py.
--
-- Keys of a run, all under one hash tag, P = dc:{run}: (a checkpoint's: dc:{run}:c:NAME:)
--   P m         meta: config, kind, the open step, ...    hash
--   P t         tallies of the open step                  hash  generation:size:passes -> integers
--   P h         history                                   hash  step -> mean|integers|before|after
--   P s         closed steps whose records are kept       zset
--   P p         problems                                  hash  problem_id -> state before + tally of its last step
--   P i         problem_ids, from the first look on       zset  all of one score, in their own order
--   P g:STEP    groups                                    hash  group_id -> what was sent of it; \255 and the token of a
--                                                     request -> what its groups were answered from, \254 and the token
--                                                     -> their payloads (commit.lua)
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
local RECORD = STATE .. string.sub(TALLY, 2)
local ADDED, ADDED_BYTES = '<I4I4I4dI4', 24 -- a tally without its step: attempts, passes, shortest, sum, count
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

-- Values of a hash, false where missing, in the order of the fields.
local function values(key, fields)
  if #fields == 0 then return {} end
  if #fields <= 4000 then return call('HMGET', key, unpack(fields)) end
  local found = {}
  for from = 1, #fields, 4000 do
    for _, value in ipairs(call('HMGET', key, unpack(fields, from, math.min(from + 3999, #fields)))) do
      found[#found + 1] = value
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

-- The index of problem names, for pages in their order. flat: '0', name, '0', name, ...
local function add_to_index(P, flat)
  for from = 1, #flat, 4000 do
    call('ZADD', P .. 'i', unpack(flat, from, math.min(from + 3999, #flat)))
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

local function add_cell(cells, generation, size, passes, groups, truncated, tokens, tokens_count, correct,
                        correct_count)
  local key = string.format('%.0f:%.0f:%.0f', generation, size, passes)
  local cell = cells[key]
  if not cell then
    cell = {generation = generation, size = size, passes = passes, groups = 0, truncated = 0, tokens = 0,
            tokens_count = 0, correct = 0, correct_count = 0}
    cells[key] = cell
  end
  cell.changed = true
  cell.groups = cell.groups + groups
  cell.truncated = cell.truncated + truncated
  cell.tokens = cell.tokens + tokens
  cell.tokens_count = cell.tokens_count + tokens_count
  cell.correct = cell.correct + correct
  cell.correct_count = cell.correct_count + correct_count
end

local function add_group(cells, generation, g)
  if g.known then
    add_cell(cells, generation, g.size, g.passes, 1, g.truncated, g.tokens, g.size, g.correct, g.passes)
  else
    add_cell(cells, generation, g.size, g.passes, 1, g.truncated, 0, 0, 0, 0)
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
