-- All keys of a state: listing, deleting, copying. After history.lua.

local BY_STEP = {'g:', 'u:', 'n:', 'o:', 'r:'}
local WHOLE = {'m', 't', 'h', 'b', 's', 'p', 'w', 'q', 'qs'}
local DATASET = {'ds', 'dx', 'dp', 'dn', 'dv', 'sm'} -- of the run: no checkpoint has them, and a state that is replaced keeps them

-- Every step that may have keys of its own.
local function steps_with_keys(prefix)
  local steps, seen = {}, {}
  local function add(step)
    if step and step ~= '' and not seen[step] then
      seen[step] = true
      steps[#steps + 1] = step
    end
  end
  for _, step in ipairs(call('ZRANGE', prefix .. 's', 0, -1)) do add(step) end
  for _, step in ipairs(call('ZRANGE', prefix .. 'w', 0, -1)) do add(step) end
  add(call('HGET', prefix .. 'm', 'open'))
  return steps
end

local function forget_step_keys(prefix, step)
  for _, kind in ipairs(BY_STEP) do call('UNLINK', prefix .. kind .. step) end
end

local function wipe_dataset(prefix)
  for _, name in ipairs(DATASET) do call('UNLINK', prefix .. name) end
end

-- Drop a whole state, but not its data set.
local function wipe(prefix)
  for _, step in ipairs(steps_with_keys(prefix)) do forget_step_keys(prefix, step) end
  for _, name in ipairs(WHOLE) do call('UNLINK', prefix .. name) end
  call('UNLINK', prefix .. 'i')
end

-- Forget a run and its checkpoints, but not its epoch, which rises: the new epoch.
local function delete_run_keys(prefix)
  for _, name in ipairs(call('HKEYS', prefix .. 'c')) do wipe(prefix .. 'c:' .. name .. ':') end
  call('UNLINK', prefix .. 'c', prefix .. 'a')
  wipe(prefix)
  wipe_dataset(prefix)
  return call('INCR', prefix .. 'e')
end

local function copy(from, to)
  wipe(to)
  for _, step in ipairs(steps_with_keys(from)) do
    for _, kind in ipairs(BY_STEP) do call('COPY', from .. kind .. step, to .. kind .. step) end
  end
  for _, name in ipairs(WHOLE) do call('COPY', from .. name, to .. name) end
end
