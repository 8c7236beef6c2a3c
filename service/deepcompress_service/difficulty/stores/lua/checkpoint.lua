-- Save the state as at the end of a step as a checkpoint: a copy, rewound to the step after it.
-- Blocks Redis for the time of the copy (COPY is linear).
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  name of the checkpoint
-- ARGV[2]  step, a number
--
-- Returns {0, step, level, problems, epoch, bytes}, or {1, slug, facts...} with nothing changed.

local prefix, name, step = string.sub(KEYS[1], 1, -2), ARGV[1], tonumber(ARGV[2])
local to = prefix .. 'c:' .. name .. ':'
local run = load_run(prefix)
if not run then return {1, 'unknown-run'} end
local refusal = check_rewindable(prefix, run, step + 1)
if refusal then return refusal end
mark_used(prefix)
copy(prefix, to)
call('HDEL', to .. 'm', 'dataset')
local saved = rewind(to, load_run(to), step + 1)
local bytes = 0
for _, n in ipairs(steps_with_keys(to)) do
  for _, kind in ipairs(BY_STEP) do bytes = bytes + (call('MEMORY', 'USAGE', to .. kind .. n) or 0) end
end
for _, key in ipairs(WHOLE) do bytes = bytes + (call('MEMORY', 'USAGE', to .. key) or 0) end
local fields = {integer(step), double(saved.values[1]), integer(saved.problems), integer(epoch_of(prefix)), integer(bytes)}
call('HSET', prefix .. 'c', name, table.concat(fields, ' '))
return {0, unpack(fields)}
