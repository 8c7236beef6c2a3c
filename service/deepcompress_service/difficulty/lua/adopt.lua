-- The state under the scratch prefix ARGV[1], which an import filled, becomes the run's; the epoch rises.
-- KEYS[1] the run's meta. Answers {0}, or {1, 'unknown-run'} where the scratch state is gone.

local P, from = string.sub(KEYS[1], 1, -2), ARGV[1]
if not load_meta(from) then return {1, 'unknown-run'} end
wipe(P)
for _, step in ipairs(steps_with_keys(from)) do
  for _, kind in ipairs(BY_STEP) do
    if call('EXISTS', from .. kind .. step) == 1 then call('RENAME', from .. kind .. step, P .. kind .. step) end
  end
end
for _, name in ipairs(WHOLE) do
  if call('EXISTS', from .. name) == 1 then call('RENAME', from .. name, P .. name) end
end
call('INCR', P .. 'e')
used(P)
return {0}
