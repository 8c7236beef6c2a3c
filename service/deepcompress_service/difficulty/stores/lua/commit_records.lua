-- Stored groups of a commit: whole records, and the step and the problems that a request leaves out.
-- After commit_arguments.lua.

local run -- the run's record, loaded or made by commit.lua

local function digest_of(tail) return string.sub(tail, 14, 29) end

-- Part `index`, from 0 on, of what is packed behind its offsets (ARGV[15]).
local function part(packed, index)
  local from, to = struct.unpack('<I4I4', packed, 4 * index + 1)
  return string.sub(packed, from + 1, to)
end

-- The inverse of `part`.
local function pack_parts(parts)
  local offsets, at = {}, 4 * #parts + 4
  for i = 1, #parts do
    offsets[i], at = struct.pack('<I4', at), at + #parts[i]
  end
  return table.concat(offsets) .. struct.pack('<I4', at) .. table.concat(parts)
end

-- The whole record of a group, from what it was sent as, what its request was answered from, and the request's payloads
-- and lengths. A group that was imported has its lengths and its payload at the end of its tail.
local function join_group(tail, shared, payloads, lengths)
  local level, step_level, mean, flags, extras = struct.unpack(HEAD, shared)
  local index, counts = struct.unpack('<I4B', tail, 9)
  local states = HEAD_BYTES + 8 * extras
  local at = states + STATE_BYTES * index
  local payload, own = '', ''
  if payloads and payloads ~= '' then payload = part(payloads, index) end
  if lengths and lengths ~= '' then own = part(lengths, index) end
  if own ~= '' then
    flags, own = flags + HAS_LENGTHS, struct.pack('<I2', #own) .. own
  end
  local head = struct.pack(HEAD, level, step_level, mean, flags + 2 * counts, extras)
  return head .. string.sub(shared, HEAD_BYTES + 1, states) .. string.sub(shared, at + 1, at + STATE_BYTES)
         .. string.sub(tail, 14) .. own .. payload
end

local function head_of(record)
  local _, level, mean = struct.unpack('<ddd', record)
  return level, mean
end

local function known_groups(step)
  local key = prefix .. 'g:' .. integer(step)
  return call('EXISTS', key) == 1 and fetch_groups(key, group_ids) or {}
end

-- The step of a request with "step": "observed": where all its groups are recorded with this content, else the one
-- open step where all were observed.
local function observed_step()
  local retained = call('ZREVRANGE', prefix .. 's', 0, -1)
  if run.open then table.insert(retained, 1, integer(run.open)) end
  for _, step in ipairs(retained) do
    local known, same = known_groups(step), true
    for i = 1, n do
      local tail = known[group_ids[i]]
      same = same and tail and digest_of(tail) == request_digest_of(packed_groups, i)
    end
    if same then return tonumber(step) end
  end
  local result = {}
  for _, step in ipairs(run.asynchronous and {} or waiting_steps(prefix, run)) do
    local all = true
    for _, id in ipairs(group_ids) do all = all and call('HEXISTS', prefix .. 'o:' .. step, id) == 1 end
    if all then result[#result + 1] = step end
  end
  if #result == 1 then return tonumber(result[1]) end
  return nil, result
end

-- Give each group without problem_id that of its observations; the first that has none, or nil.
local function name_problems(step, list)
  local missing = {}
  for _, g in ipairs(list) do
    if g.problem == '' then missing[#missing + 1] = g.id end
  end
  if #missing == 0 then return nil end
  local observed
  if run.asynchronous then
    observed = run.created and {} or waiting_groups(prefix, missing)
  else
    observed = fetch(prefix .. 'o:' .. integer(step), missing)
  end
  for _, g in ipairs(list) do
    if g.problem == '' then
      if not observed[g.id] then return g.id end
      g.problem = unpack_observed(observed[g.id]).problem
      g.unnamed = true
      g.tail = string.sub(g.tail, 1, 29) .. struct.pack('<I2', #g.problem) .. g.problem .. string.sub(g.tail, 32)
    end
  end
end
