-- The state under the scratch prefix ARGV[1], which an import filled, becomes the run's; the epoch rises.
-- KEYS[1] the run's meta. ARGV[2]: for how many seconds its observations wait where it was never trained.
-- Answers {0}, or {1, 'unknown-run'} where the scratch state is gone.

local P, from = string.sub(KEYS[1], 1, -2), ARGV[1]
local m = load_meta(from)
if not m then return {1, 'unknown-run'} end
wipe(P)
local function move(name)
  if call('EXISTS', from .. name) == 1 then
    call('RENAME', from .. name, P .. name)
    call('PERSIST', P .. name)
  end
end
for _, step in ipairs(steps_with_keys(from)) do
  for _, kind in ipairs(BY_STEP) do move(kind .. step) end
end
for _, name in ipairs(WHOLE) do move(name) end
if m.kind == '' then keep_observations(P, ARGV[2]) end
call('INCR', P .. 'e')
used(P)
return {0}
