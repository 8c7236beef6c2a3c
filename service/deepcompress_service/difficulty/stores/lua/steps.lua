-- Opening and closing steps (engine.py). After apply_groups.lua.

-- A thread of Redis frees what UNLINK removes. To wake it takes longer than to free a step of fewer fields at once.
local FREED_AT_ONCE = 1000

local function forget_records(prefix, step)
  local n = integer(step)
  local keys = {prefix .. 'g:' .. n, prefix .. 'u:' .. n, prefix .. 'n:' .. n, prefix .. 'o:' .. n, prefix .. 'r:' .. n}
  local fields = call('HLEN', keys[1]) + call('HLEN', keys[2]) + call('HLEN', keys[4])
  if fields < FREED_AT_ONCE then call('DEL', unpack(keys)) else call('UNLINK', unpack(keys)) end
  call('ZREM', prefix .. 'w', n)
  call('ZREM', prefix .. 's', n)
end

local function open_step(prefix, run, step)
  if run.asynchronous then discard_expired(prefix, run) end
  run.open, run.closed, run.first = step, step - 1, math.min(run.first or step, step)
  run.start = run.values
  if run.config.reference == 'dataset' and run.problems > 0 then
    run.start = {unpack(run.values)}
    run.start[1] = run.ratio_sum / RATIO_ONE / run.problems
  end
  run.buckets, run.revisits = {}, {0, 0, 0}
  local kept = call('ZCARD', prefix .. 's')
  if kept >= run.config.keep_steps then
    for _, old in ipairs(call('ZRANGE', prefix .. 's', 0, kept - run.config.keep_steps)) do
      forget_records(prefix, tonumber(old))
      run.pruned = tonumber(old)
    end
  end
end

-- Close the open step: groups that were observed and never shaped count, then its level is final.
local function close(prefix, run)
  local n, counted = integer(run.open), {}
  local buckets = load_buckets(prefix, run)
  if run.kind == 'stepped' and not run.asynchronous then
    local observed, ids = pairs_of(prefix .. 'o:' .. n), {}
    for id in pairs(observed) do ids[#ids + 1] = id end
    table.sort(ids)
    local shaped = fetch_groups(prefix .. 'g:' .. n, ids)
    for _, id in ipairs(ids) do
      if not shaped[id] then
        local g = unpack_observed(observed[id])
        if g.counts then
          add_group(buckets, g.generation, g)
          counted[#counted + 1] = g
        end
      end
    end
    if #counted > 0 then apply_group_list(prefix, run, counted) end
  end
  if run.asynchronous then discard_expired(prefix, run) else call('UNLINK', prefix .. 'r:' .. n) end
  call('UNLINK', prefix .. 't')
  local record = close_record(run, buckets, #counted)
  put_step(prefix, run.open, record)
  run.values, run.closed, run.open, run.buckets = record.after, run.open, nil, {}
  run.revisits, run.ages = {0, 0, 0}, {0, 0, 0, 0, 0}
  if run.indexed then
    local visits, befores, olds, news = load_visits(prefix), reindex(prefix, run, touched_by(prefix, n))
    local generation = next_generation(prefix)
    if visits then close_visits(prefix, visits, generation, run.closed, befores, olds, news) end
  end
end

local function waiting_steps(prefix, run)
  return call('ZRANGEBYSCORE', prefix .. 'w', '(' .. integer(run.closed), '+inf')
end

-- Close every step before this one, those included of which only observations are known.
local function close_before(prefix, run, step)
  if run.open and run.open < step then close(prefix, run) end
  if run.kind ~= 'stepped' or run.asynchronous then return end
  for _, waiting in ipairs(waiting_steps(prefix, run)) do
    if tonumber(waiting) < step then
      open_step(prefix, run, tonumber(waiting))
      close(prefix, run)
    end
  end
end

local function advance_to(prefix, run, step)
  if run.open ~= step then
    run.opened = true
    close_before(prefix, run, step)
    open_step(prefix, run, step)
  end
end
