-- Sums of a step by data source (sources.py). After commit_arguments.lua.
--
-- A member of P b is the step, '|', then every name that the run has had up to this step and its sums, both behind their
-- lengths. The sums of a name without a group in the step are ''.

local count_sources
do -- Lua bounds the number of a script's local names
local MOST_SOURCES, OTHER = 16, 'other'

-- The member of the step, nil if it has none; then names in order, and the sums of each.
local function load_sources(step)
  local member = call('ZREVRANGEBYSCORE', prefix .. 'b', integer(step), '-inf', 'LIMIT', 0, 1)[1]
  local names, sums = {}, {}
  if not member then return nil, names, sums end
  local bar = string.find(member, '|', 1, true)
  local of_step, at = tonumber(string.sub(member, 1, bar - 1)), bar + 1
  while at <= #member do
    local name, text
    name, text, at = struct.unpack('<I2c0I2c0', member, at)
    -- The sums of a step that this request opened are left from before a rewind, by an older version of the service.
    names[#names + 1], sums[name] = name, of_step == step and not run.opened and numbers(text) or {}
  end
  return of_step == step and member or nil, names, sums
end

local function add_to_source(names, sums, name, added)
  if not sums[name] then
    local own = #names - (sums[OTHER] and 1 or 0)
    if own >= MOST_SOURCES then name = OTHER end
    if not sums[name] then names[#names + 1], sums[name] = name, {} end
  end
  local total = sums[name]
  for i = 1, #added do total[i] = (total[i] or 0) + added[i] end
end

-- Names in the request, and the sums of all its groups by these.
local function sent_sources()
  local names, added, at = {}, {}, 1
  while at <= #ARGV[22] do
    local text
    names[#names + 1], text, at = struct.unpack('<I2c0I2c0', ARGV[22], at)
    added[#names] = numbers(text)
  end
  return names, added
end

local function sums_of(g)
  local ratio = math.floor(g.passes / g.size * RATIO_ONE + 0.5)
  if not g.known then return {1, g.size, g.passes, g.truncated, 0, 0, 0, 0, ratio} end
  return {1, g.size, g.passes, g.truncated, g.tokens, g.size, g.correct, g.passes, ratio}
end

-- Add the groups of `list`, which all count, to the sums of the open step; `list` is nil for all groups of the request.
function count_sources(list)
  if ARGV[21] == '' then return end
  local sent, added = sent_sources()
  local old, names, sums = load_sources(run.open)
  local counted = not list and #sent > 0
  if not list then
    for i, name in ipairs(sent) do add_to_source(names, sums, name, added[i]) end
  end
  for _, g in ipairs(list or {}) do
    local name = sent[struct.unpack('<I4', ARGV[21], 4 * g.index - 3)]
    if name then
      add_to_source(names, sums, name, sums_of(g))
      counted = true
    end
  end
  if not counted then return end
  local parts = {integer(run.open), '|'}
  for _, name in ipairs(names) do
    local text = {}
    for i, x in ipairs(sums[name]) do text[i] = integer(x) end
    text = table.concat(text, ' ')
    parts[#parts + 1] = struct.pack('<I2c0I2c0', #name, name, #text, text)
  end
  if old then call('ZREM', prefix .. 'b', old) end
  call('ZADD', prefix .. 'b', integer(run.open), table.concat(parts))
end

end
