-- Problems, and how a step opens and closes; put between common.lua and the scripts that count groups.

local function unpack_problem(raw)
  local r = {raw = raw}
  r.attempts, r.passes, r.ratio, r.last, r.beta, r.turns, r.flags, r.shortest, r.sum, r.count, r.step =
    struct.unpack(STATE, raw)
  r.tstep, r.tattempts, r.tpasses = struct.unpack(TALLY, raw, STATE_BYTES + 1)
  return r
end

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

-- A problem after the step of its tally, packed, from the values of its RECORD.
local function folded(weight, level, attempts, passes, ratio, _, _, turns, flags, shortest, sum, count, _, tstep,
                      tattempts, tpasses, tshortest, tsum, tcount)
  local last = tpasses / tattempts
  local beta, before = last - level, math.floor(flags / 4)
  local side = beta > 0 and 1 or beta < 0 and 2 or before
  if before ~= 0 and side ~= before then turns = turns + 1 end
  if tshortest < shortest then shortest = tshortest end
  if flags % 2 == 1 then ratio = (1 - weight) * ratio + weight * last else ratio = last end
  return struct.pack(STATE, attempts + tattempts, passes + tpasses, ratio, last, beta, turns, 3 + 4 * side, shortest,
                     sum + tsum, count + tcount, tstep)
end

local function fold(raw, weight, level)
  local _, tattempts = struct.unpack('<dI4', raw, STATE_BYTES + 1)
  if tattempts == 0 then return string.sub(raw, 1, STATE_BYTES) end
  return folded(weight, level, struct.unpack(RECORD, raw))
end

-- The level at the end of a step that is not open, 0 where there is none. Anchored: looked for from the line's end, the
-- last of its four parts takes Lua some twenty times as long, and a request may ask for as many steps as it has groups.
local function level_at(P, step)
  local text = step >= 0 and call('HGET', P .. 'h', integer(step))
  return text and tonumber(string.match(text, '^[^|]*|[^|]*|[^|]*|([^| ]+)')) or 0
end

-- Problems as they stood before a step, packed, by id, following their records back through the undo of later steps.
local function problems_before(P, m, step, ids)
  local states, levels, found = {}, {}, fetch(P .. 'p', ids)
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
        levels[r.tstep] = levels[r.tstep] or level_at(P, r.tstep)
        states[id] = fold(r.raw, m.config.problem_weight, levels[r.tstep])
      end
    end
  end
  return states
end

-- What groups add to their problems: the problems, each once, and one packed ADDED for each, joined.
local function added_by(groups)
  local ids, place, attempts, passes, shortest, sums, counts = {}, {}, {}, {}, {}, {}, {}
  for _, g in ipairs(groups) do
    local i = place[g.problem]
    if not i then
      i = #ids + 1
      ids[i], place[g.problem] = g.problem, i
      attempts[i], passes[i], shortest[i], sums[i], counts[i] = 0, 0, NONE, 0, 0
    end
    attempts[i] = attempts[i] + g.size
    passes[i] = passes[i] + g.passes
    if g.known then
      sums[i] = sums[i] + g.correct
      counts[i] = counts[i] + g.passes
      if g.least < shortest[i] then shortest[i] = g.least end
    end
  end
  local packed = {}
  for i = 1, #ids do packed[i] = struct.pack(ADDED, attempts[i], passes[i], shortest[i], sums[i], counts[i]) end
  return ids, table.concat(packed)
end

-- Add to the problems `ids`, all different, what the open step brought them: `added` holds one packed ADDED for each,
-- `stride` bytes apart. Answers each problem as it stood before the step, packed.
local function touch(P, m, ids, added, stride)
  local found, before, flat, undo, names, new, levels = values(P .. 'p', ids), {}, {}, {}, {}, {}, {}
  local open, weight, step, lengths = m.open, m.config.problem_weight, struct.pack('<d', m.open), {}
  local cut, take, undone, named = string.sub, struct.unpack, 0, 0
  for i, id in ipairs(ids) do
    local raw, at = found[i], stride * (i - 1) + 1
    local more, state = cut(added, at, at + ADDED_BYTES - 1), EMPTY
    local last_step
    if not raw then
      m.problems = m.problems + 1
      new[#new + 1] = '0'
      new[#new + 1] = id
    else
      if m.dataset then m.ratio_sum = m.ratio_sum - counted_ratio(m, raw) end
      local attempts, passes, ratio, then_ratio, then_beta, turns, flags, shortest, sum, count, then_step, tstep,
            tattempts, tpasses, tshortest, tsum, tcount = take(RECORD, raw)
      last_step = tstep
      if tstep == open then
        local a, p, s, t, c = take(ADDED, more)
        more = struct.pack(ADDED, tattempts + a, tpasses + p, math.min(tshortest, s), tsum + t, tcount + c)
        state = cut(raw, 1, STATE_BYTES)
      elseif tattempts == 0 then
        state = cut(raw, 1, STATE_BYTES)
      else
        local level = levels[tstep]
        if not level then
          level = level_at(P, tstep)
          levels[tstep] = level
        end
        state = folded(weight, level, attempts, passes, ratio, then_ratio, then_beta, turns, flags, shortest, sum, count,
                       then_step, tstep, tattempts, tpasses, tshortest, tsum, tcount)
      end
    end
    if last_step ~= open then
      if last_step and last_step > m.pruned then
        undo[undone + 1], undo[undone + 2] = id, raw
        undone = undone + 2
      else
        local length = lengths[#id]
        if not length then
          length = struct.pack('<I2', #id)
          lengths[#id] = length
        end
        names[named + 1], names[named + 2] = length, id
        named = named + 2
      end
    end
    local record = state .. step .. more
    if m.dataset then m.ratio_sum = m.ratio_sum + counted_ratio(m, record) end
    before[i], flat[2 * i - 1], flat[2 * i] = state, id, record
  end
  put(P .. 'p', flat)
  put(P .. 'u:' .. integer(open), undo)
  if #new > 0 and call('EXISTS', P .. 'i') == 1 then add_to_index(P, new) end
  if named > 0 then call('RPUSH', P .. 'n:' .. integer(open), table.concat(names)) end
  return before
end

local function touch_all(P, m, groups)
  local ids, added = added_by(groups)
  return ids, touch(P, m, ids, added, ADDED_BYTES)
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
          add_group(cells, g.generation, g)
          counted[#counted + 1] = g
        end
      end
    end
    if #counted > 0 then touch_all(P, m, counted) end
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
