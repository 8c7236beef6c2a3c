-- A run's record, its epoch and its last use. After hashes.lua.

local META = {'config', 'schema', 'kind', 'open', 'closed', 'pruned', 'first', 'values', 'start', 'problems', 'ratio_sum',
              'sequence', 'incarnation', 'version', 'created_step', 'revisits', 'ages', 'dataset', 'begun'}

-- Whether an accumulator needs the changes of revisited problems.
local function tracks_changes(config)
  for _, extra in ipairs(config.extra or {}) do -- absent in a damaged record, which is refused where it is read
    if extra.kind == 'change' then return true end
  end
  return false
end

local function new_run(config)
  local run = {config = cjson.decode(config), kind = '', closed = -1, pruned = -1, problems = 0, ratio_sum = 0,
             sequence = 0, values = {}, incarnation = '', version = 0, revisits = {0, 0, 0},
             ages = {0, 0, 0, 0, 0}}
  run.values[1] = run.config.level.initial
  run.asynchronous = run.config.asynchronous == true
  run.dataset, run.changing = run.config.reference == 'dataset', tracks_changes(run.config)
  for i, extra in ipairs(run.config.extra) do run.values[i + 1] = extra.initial end
  run.start = run.values
  return run
end

local function load_run(prefix)
  local f = call('HMGET', prefix .. 'm', unpack(META))
  if not f[1] then return nil end
  if tonumber(f[2]) > SCHEMA_VERSION then error('STORETOONEW ' .. f[2]) end
  local config = cjson.decode(f[1])
  return {config = config, asynchronous = config.asynchronous == true, dataset = config.reference == 'dataset', kind = f[3], open = tonumber(f[4]), closed = tonumber(f[5]),
          pruned = tonumber(f[6]), first = tonumber(f[7]), values = numbers(f[8]), start = numbers(f[9]),
          problems = tonumber(f[10]), ratio_sum = tonumber(f[11]), sequence = tonumber(f[12]),
          -- absent in the record of an older version of the service
          incarnation = f[13] or '', version = tonumber(f[14] or '0'), created_step = tonumber(f[15] or ''),
          revisits = numbers(f[16] or '0 0 0'), ages = numbers(f[17] or '0 0 0 0 0'), changing = tracks_changes(config),
          indexed = f[18] == '1', begun = f[19] and numbers(f[19])}
end

-- The accumulators before the first step: for a run that continues another one, those that it began with.
local function initial_values(prefix, run)
  return run.begun or new_run(call('HGET', prefix .. 'm', 'config')).values
end

local function save_run(prefix, run)
  call('HSET', prefix .. 'm', 'schema', SCHEMA_VERSION, 'kind', run.kind, 'open', run.open and integer(run.open) or '', 'closed', integer(run.closed),
       'pruned', integer(run.pruned), 'first', run.first and integer(run.first) or '', 'values', join(run.values),
       'start', join(run.start), 'problems', integer(run.problems), 'ratio_sum', integer(run.ratio_sum),
       'sequence', integer(run.sequence), 'incarnation', run.incarnation, 'version', integer(run.version),
       'created_step', run.created_step and integer(run.created_step) or '',
       'revisits', join(run.revisits), 'ages', join(run.ages))
end

-- Whether the record was evicted or deleted, with more of the run still there.
local function lost_record(prefix) return call('EXISTS', prefix .. 'p', prefix .. 'h', prefix .. 'ds') > 0 end

-- Delete what is left of a run whose record is gone, but not the observations that wait for it. Linear in its problems.
local function drop_remains(prefix)
  local steps = {}
  for _, step in ipairs(call('ZRANGE', prefix .. 's', 0, -1)) do steps[step] = true end
  for _, record in ipairs(call('HVALS', prefix .. 'p')) do
    steps[integer(struct.unpack('<d', record, STATE_BYTES + 1))] = true
  end
  for step in pairs(steps) do call('UNLINK', prefix .. 'g:' .. step, prefix .. 'u:' .. step, prefix .. 'n:' .. step) end
  call('UNLINK', prefix .. 't', prefix .. 'h', prefix .. 'b', prefix .. 's', prefix .. 'p', prefix .. 'i', prefix .. 'q', prefix .. 'qs')
  call('UNLINK', prefix .. 'ds', prefix .. 'dx', prefix .. 'dp', prefix .. 'dn', prefix .. 'dv', prefix .. 'sm')
end

local function epoch_of(tag) return tonumber(call('GET', tag .. 'e') or '0') end

-- Record that the run is used now, by Redis' own clock: sweep.lua deletes runs that were not used for long.
local function mark_used(tag) call('SET', tag .. 'a', call('TIME')[1]) end

-- Set the time to live of a run's observations: `seconds` if the run was never trained; none (nil) if it was, since
-- its observations will count.
local function keep_observations(prefix, seconds)
  local keys = {prefix .. 'w'}
  for _, step in ipairs(call('ZRANGE', prefix .. 'w', 0, -1)) do
    keys[#keys + 1] = prefix .. 'o:' .. step
    keys[#keys + 1] = prefix .. 'r:' .. step
  end
  for _, key in ipairs(keys) do
    if seconds then call('EXPIRE', key, seconds) else call('PERSIST', key) end
  end
end

-- Forget all observations: those of a run that was not asynchronous when they arrived.
local function forget_waiting(prefix)
  for _, step in ipairs(call('ZRANGE', prefix .. 'w', 0, -1)) do
    call('UNLINK', prefix .. 'o:' .. step, prefix .. 'r:' .. step)
  end
  call('UNLINK', prefix .. 'w')
end
