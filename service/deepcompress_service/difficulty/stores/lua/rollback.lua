-- Rewinding a state (rollback.py). After steps.lua and state_keys.lua.

-- For every problem that a step touched, its record before ('' where the present record's state has all of it).
local function undo_of(prefix, step)
  local undo = pairs_of(prefix .. 'u:' .. step)
  for _, packed in ipairs(call('LRANGE', prefix .. 'n:' .. step, 0, -1)) do
    local at = 1
    while at <= #packed do
      local length = struct.unpack('<I2', packed, at)
      undo[string.sub(packed, at + 2, at + 1 + length)] = ''
      at = at + 2 + length
    end
  end
  return undo
end

-- The end of a record whose tally was taken away.
local function old_lengths(record)
  local visits, before = lengths_of(record, RECORD_BYTES)
  return pack_lengths(visits, before, NO_LENGTHS)
end

-- Refuse to go back where the undo of some step from `next_step` on is gone, naming the nearest checkpoint.
local function check_rewindable(tag, run, next_step)
  if not next_step or not run.first or (next_step <= run.first and not run.begun) or next_step > run.pruned then return nil end
  local name, best = '', -1
  for checkpoint, text in pairs(pairs_of(tag .. 'c')) do
    local step = numbers(text)[1]
    if step < next_step and (step > best or (step == best and checkpoint > name)) then
      name, best = checkpoint, step
    end
  end
  return {1, 'rewind-too-far', integer(next_step), integer(run.pruned), integer(run.config.keep_steps), name,
          integer(best)}
end

-- Forget everything at steps >= next_step (nil: all but the configuration). The step before it is closed. A run that
-- continues another one keeps the state that it began with, except for nil.
local function rewind(prefix, run, next_step)
  local before_all = not next_step or not run.first or next_step <= run.first
  if not next_step or (before_all and not run.begun) then
    local kept = call('HMGET', prefix .. 'm', 'config', 'config_text')
    local incarnation, indexed, problems = run.incarnation, run.indexed, run.problems
    wipe(prefix)
    run = new_run(kept[1])
    run.incarnation, run.indexed = incarnation, indexed
    if indexed then
      call('HSET', prefix .. 'm', 'dataset', '1')
      drop_samples_from(prefix, next_step)
      if problems > 0 then mark_pending(prefix) else next_generation(prefix) end
    end
    if next_step then run.closed = next_step - 1 end
    call('HSET', prefix .. 'm', 'config', kept[1], 'config_text', kept[2])
    save_run(prefix, run)
    return run
  end
  if not before_all then close_before(prefix, run, next_step) end
  local steps = call('ZRANGEBYSCORE', prefix .. 's', integer(next_step), '+inf')
  if run.open then steps[#steps + 1] = integer(run.open) end
  local touched = {}
  for i = #steps, 1, -1 do
    local undo, ids, flat = undo_of(prefix, steps[i]), {}, {}
    for id in pairs(undo) do
      ids[#ids + 1] = id
      touched[#touched + 1] = id
    end
    local result = fetch(prefix .. 'p', ids)
    for id, old in pairs(undo) do
      local r = unpack_problem(result[id])
      run.ratio_sum = run.ratio_sum - counted_ratio(run, r.raw)
      if r.attempts == 0 then -- a problem of a continued run has attempts, and no last step
        call('HDEL', prefix .. 'p', id)
        call('ZREM', prefix .. 'i', id)
        run.problems = run.problems - 1
      else
        if old == '' then old = string.sub(r.raw, 1, STATE_BYTES) .. struct.pack(TALLY, -1, 0, 0, NONE, 0, 0)
                                    .. old_lengths(r.raw) end
        run.ratio_sum = run.ratio_sum + counted_ratio(run, old)
        flat[#flat + 1] = id
        flat[#flat + 1] = old
      end
    end
    put(prefix .. 'p', flat)
    forget_step_keys(prefix, steps[i])
    call('HDEL', prefix .. 'h', steps[i])
  end
  local from = before_all and '-inf' or integer(next_step)
  for _, step in ipairs(call('ZRANGEBYSCORE', prefix .. 'w', from, '+inf')) do forget_step_keys(prefix, step) end
  call('ZREMRANGEBYSCORE', prefix .. 'w', from, '+inf')
  call('ZREMRANGEBYSCORE', prefix .. 's', integer(next_step), '+inf')
  call('ZREMRANGEBYSCORE', prefix .. 'b', integer(next_step), '+inf')
  call('UNLINK', prefix .. 't')
  -- Later requests were counted later, so the newest are looked at until one is of a step that stays.
  while true do
    local newest = call('ZREVRANGE', prefix .. 'qs', 0, 0)[1]
    if not newest or struct.unpack('<d', call('HGET', prefix .. 'q', newest), 17) < next_step then break end
    call('HDEL', prefix .. 'q', newest)
    call('ZREM', prefix .. 'qs', newest)
  end
  local last = get_step(prefix, tonumber(call('ZREVRANGE', prefix .. 's', 0, 0)[1] or run.pruned))
  run.values = last and last.after or initial_values(prefix, run)
  run.open, run.closed, run.buckets, run.version = nil, next_step - 1, {}, 0
  run.revisits, run.ages = {0, 0, 0}, {0, 0, 0, 0, 0}
  if before_all then
    run.kind, run.first, run.pruned, run.sequence, run.created_step, run.start = '', nil, -1, 0, nil, run.values
  end
  if run.indexed then
    reindex(prefix, run, touched)
    drop_samples_from(prefix, next_step)
    next_generation(prefix)
  end
  save_run(prefix, run)
  return run
end
