-- Copy a run to scratch keys, for an export to read at its own pace.
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  prefix of the scratch state's keys
-- ARGV[2]  seconds after which the copy expires
--
-- Returns {0, epoch, number of hash fields and elements of lists and sets to read}, or {1, slug, facts...}.

local prefix, to, lifetime_seconds = string.sub(KEYS[1], 1, -2), ARGV[1], ARGV[2]

local entries = 0
local run = load_run(prefix)
if not run then return {1, 'unknown-run'} end
if run.indexed and not has_index(prefix) then return {1, 'run-damaged', 'data set'} end
copy(prefix, to)
for _, step in ipairs(steps_with_keys(to)) do
  for _, kind in ipairs(BY_STEP) do
    local key = to .. kind .. step
    entries = entries + call(kind == 'n:' and 'LLEN' or 'HLEN', key)
    call('EXPIRE', key, lifetime_seconds)
  end
end
for _, name in ipairs(DATASET) do call('COPY', prefix .. name, to .. name) end
for _, names in ipairs({WHOLE, DATASET}) do
  for _, name in ipairs(names) do call('EXPIRE', to .. name, lifetime_seconds) end
end
for _, name in ipairs({'h', 'p', 'q', 'sm'}) do entries = entries + call('HLEN', to .. name) end
entries = entries + call('ZCARD', to .. 'dx') + call('ZCARD', to .. 'b')
return {0, integer(epoch_of(prefix)), integer(entries)}
