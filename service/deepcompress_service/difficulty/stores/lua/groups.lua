-- Groups of a step in P g:STEP. After hashes.lua.
--
-- The groups of the first request of a step, if it is plain, are one field, REQUEST, as they came (commit_arguments.lua,
-- ARGV[14]). A script that looks for single groups of the step makes a field of each: many steps have only one request.

local REQUEST = '\252'

-- `count` strings, each behind its length, from `at` on; and the place behind them. Lua's stack bounds one call's results.
local function cut_up(packed, count, at)
  local result, most = {}, 500
  for from = 1, count, most do
    local some = math.min(most, count - from + 1)
    local cut = {struct.unpack('<' .. string.rep('I2c0', some), packed, at)}
    at = cut[some + 1]
    if from == 1 then
      result = cut
      result[some + 1] = nil
    else
      for i = 1, some do result[from + i - 1] = cut[i] end
    end
  end
  return result, at
end

-- group_ids and problem_ids of a packed request, in order.
local function ids_of_request(packed)
  local n = struct.unpack('<I4', packed, 9)
  local group_ids, at = cut_up(packed, n, 13 + 16 * n)
  return group_ids, at <= #packed and cut_up(packed, n, at) or group_ids
end

-- Digest of the group with this index, from 1 on.
local function request_digest_of(packed, index) return string.sub(packed, 16 * index - 3, 16 * index + 12) end

-- The tail that is stored of a group; `counts`: 1 if it counts, else 0.
local function request_tail(packed, index, counts, problem)
  return string.sub(packed, 1, 8) .. struct.pack('<I4B', index - 1, counts) .. request_digest_of(packed, index)
         .. struct.pack('<I2', #problem) .. problem
end

-- Write a field for each group of a plain request.
local function put_groups(key, packed)
  local flat, group_ids, problem_ids = {}, ids_of_request(packed)
  for i, id in ipairs(group_ids) do
    flat[2 * i - 1], flat[2 * i] = id, request_tail(packed, i, 1, problem_ids[i])
  end
  put(key, flat)
end

-- Groups of a step by group_id -> tail, missing ones left out.
local function fetch_groups(key, ids)
  if #ids == 0 then return {} end
  local packed = call('HGET', key, REQUEST)
  if packed then
    put_groups(key, packed)
    call('HDEL', key, REQUEST)
  end
  return fetch(key, ids)
end
