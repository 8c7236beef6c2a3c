-- Copy the run to the scratch prefix ARGV[1], for an export to read at leisure; the copy lives ARGV[2] seconds.
-- KEYS[1] the run's meta. Answers {0, epoch, fields of hashes and elements of lists to be read}, or {1, 'unknown-run'}.

local P, to, entries = string.sub(KEYS[1], 1, -2), ARGV[1], 0
if not load_meta(P) then return {1, 'unknown-run'} end
copy(P, to)
for _, step in ipairs(steps_with_keys(to)) do
  for _, kind in ipairs(BY_STEP) do
    local key = to .. kind .. step
    entries = entries + call(kind == 'n:' and 'LLEN' or 'HLEN', key)
    call('EXPIRE', key, ARGV[2])
  end
end
for _, name in ipairs(WHOLE) do call('EXPIRE', to .. name, ARGV[2]) end
for _, name in ipairs({'h', 'p', 'q'}) do entries = entries + call('HLEN', to .. name) end
return {0, integer(epoch_of(P)), integer(entries)}
