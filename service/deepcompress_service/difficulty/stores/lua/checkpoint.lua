-- Save the state as at the end of step ARGV[2] under the name ARGV[1]: a copy, rewound to the step after it.
-- Blocks Redis for the time of the copy (COPY is linear).
-- KEYS[1] the run's meta. Answers {0, step, level, problems, epoch, bytes}, or {1, slug, facts...}.

local P, name, step = string.sub(KEYS[1], 1, -2), ARGV[1], tonumber(ARGV[2])
local to = P .. 'c:' .. name .. ':'
local m = load_meta(P)
if not m then return {1, 'unknown-run'} end
local refusal = check_reach(P, m, step + 1)
if refusal then return refusal end
used(P)
copy(P, to)
local saved = rewind(to, load_meta(to), step + 1)
local bytes = 0
for _, n in ipairs(steps_with_keys(to)) do
  for _, kind in ipairs(BY_STEP) do bytes = bytes + (call('MEMORY', 'USAGE', to .. kind .. n) or 0) end
end
for _, key in ipairs(WHOLE) do bytes = bytes + (call('MEMORY', 'USAGE', to .. key) or 0) end
local fields = {integer(step), double(saved.values[1]), integer(saved.problems), integer(epoch_of(P)), integer(bytes)}
call('HSET', P .. 'c', name, table.concat(fields, ' '))
return {0, unpack(fields)}
