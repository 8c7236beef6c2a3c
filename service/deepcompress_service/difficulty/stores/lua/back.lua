-- What rewind, checkpoint, restore, delete and import share; put between common.lua and each of them.

local BY_STEP = {'g:', 'u:', 'n:', 'o:', 'r:'}
local WHOLE = {'m', 't', 'h', 's', 'p', 'w', 'q', 'qs'}

-- Every step that may have keys of its own.
local function steps_with_keys(P)
  local steps, seen = {}, {}
  local function add(step)
    if step and step ~= '' and not seen[step] then
      seen[step] = true
      steps[#steps + 1] = step
    end
  end
  for _, step in ipairs(call('ZRANGE', P .. 's', 0, -1)) do add(step) end
  for _, step in ipairs(call('ZRANGE', P .. 'w', 0, -1)) do add(step) end
  add(call('HGET', P .. 'm', 'open'))
  return steps
end

local function forget_step_keys(P, step)
  for _, kind in ipairs(BY_STEP) do call('UNLINK', P .. kind .. step) end
end

-- For every problem that a step touched, its record before ('' where the present record's state says all).
local function undo_of(P, step)
  local undo = pairs_of(P .. 'u:' .. step)
  for _, packed in ipairs(call('LRANGE', P .. 'n:' .. step, 0, -1)) do
    local at = 1
    while at <= #packed do
      local length = struct.unpack('<I2', packed, at)
      undo[string.sub(packed, at + 2, at + 1 + length)] = ''
      at = at + 2 + length
    end
  end
  return undo
end

-- Drop a whole state.
local function wipe(P)
  for _, step in ipairs(steps_with_keys(P)) do forget_step_keys(P, step) end
  for _, name in ipairs(WHOLE) do call('UNLINK', P .. name) end
  call('UNLINK', P .. 'i')
end

-- Forget a run and its checkpoints, but not its epoch, which rises: the new epoch.
local function forget_run(P)
  for _, name in ipairs(call('HKEYS', P .. 'c')) do wipe(P .. 'c:' .. name .. ':') end
  call('UNLINK', P .. 'c', P .. 'a')
  wipe(P)
  return call('INCR', P .. 'e')
end

local function copy(from, to)
  wipe(to)
  for _, step in ipairs(steps_with_keys(from)) do
    for _, kind in ipairs(BY_STEP) do call('COPY', from .. kind .. step, to .. kind .. step) end
  end
  for _, name in ipairs(WHOLE) do call('COPY', from .. name, to .. name) end
end

-- Refuse to go back where the undo of some step from `next_step` on is gone, naming the nearest checkpoint.
local function check_reach(tag, m, next_step)
  if not next_step or not m.first or next_step <= m.first or next_step > m.pruned then return nil end
  local name, best = '', -1
  for checkpoint, text in pairs(pairs_of(tag .. 'c')) do
    local step = numbers(text)[1]
    if step < next_step and (step > best or (step == best and checkpoint > name)) then
      name, best = checkpoint, step
    end
  end
  return {1, 'rewind-too-far', integer(next_step), integer(m.pruned), integer(m.config.keep_steps), name,
          integer(best)}
end

-- Forget everything at steps >= next_step (nil: all but the configuration). The step before it is closed.
local function rewind(P, m, next_step)
  if not next_step or not m.first or next_step <= m.first then
    local kept = call('HMGET', P .. 'm', 'config', 'config_text')
    wipe(P)
    m = fresh_meta(kept[1])
    if next_step then m.closed = next_step - 1 end
    call('HSET', P .. 'm', 'config', kept[1], 'config_text', kept[2])
    save_meta(P, m)
    return m
  end
  close_before(P, m, next_step)
  local steps = call('ZRANGEBYSCORE', P .. 's', integer(next_step), '+inf')
  if m.open then steps[#steps + 1] = integer(m.open) end
  for i = #steps, 1, -1 do
    local undo, ids, flat = undo_of(P, steps[i]), {}, {}
    for id in pairs(undo) do ids[#ids + 1] = id end
    local found = fetch(P .. 'p', ids)
    for id, old in pairs(undo) do
      local r = unpack_problem(found[id])
      m.ratio_sum = m.ratio_sum - counted_ratio(m, r.raw)
      if r.step < 0 then
        call('HDEL', P .. 'p', id)
        call('ZREM', P .. 'i', id)
        m.problems = m.problems - 1
      else
        if old == '' then old = string.sub(r.raw, 1, STATE_BYTES) .. struct.pack(TALLY, -1, 0, 0, NONE, 0, 0) end
        m.ratio_sum = m.ratio_sum + counted_ratio(m, old)
        flat[#flat + 1] = id
        flat[#flat + 1] = old
      end
    end
    put(P .. 'p', flat)
    forget_step_keys(P, steps[i])
    call('HDEL', P .. 'h', steps[i])
  end
  for _, step in ipairs(call('ZRANGEBYSCORE', P .. 'w', integer(next_step), '+inf')) do forget_step_keys(P, step) end
  call('ZREMRANGEBYSCORE', P .. 'w', integer(next_step), '+inf')
  call('ZREMRANGEBYSCORE', P .. 's', integer(next_step), '+inf')
  call('UNLINK', P .. 't')
  -- Later requests were counted later, so the newest are looked at until one is of a step that stays.
  while true do
    local newest = call('ZREVRANGE', P .. 'qs', 0, 0)[1]
    if not newest or struct.unpack('<d', call('HGET', P .. 'q', newest), 17) < next_step then break end
    call('HDEL', P .. 'q', newest)
    call('ZREM', P .. 'qs', newest)
  end
  local last = get_step(P, tonumber(call('ZREVRANGE', P .. 's', 0, 0)[1] or m.pruned))
  m.values = last and last.after or fresh_meta(call('HGET', P .. 'm', 'config')).values
  m.open, m.closed, m.cells = nil, next_step - 1, {}
  save_meta(P, m)
  return m
end
