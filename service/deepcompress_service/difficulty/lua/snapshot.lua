-- Copy the run to the scratch prefix ARGV[1], for an export to read at leisure; the copy lives ARGV[2] seconds.
-- KEYS[1] the run's meta. Answers {0, epoch}, or {1, 'unknown-run'}.

local P, to = string.sub(KEYS[1], 1, -2), ARGV[1]
if not load_meta(P) then return {1, 'unknown-run'} end
copy(P, to)
for _, step in ipairs(steps_with_keys(to)) do
  for _, kind in ipairs(BY_STEP) do call('EXPIRE', to .. kind .. step, ARGV[2]) end
end
for _, name in ipairs(WHOLE) do call('EXPIRE', to .. name, ARGV[2]) end
return {0, integer(epoch_of(P))}
