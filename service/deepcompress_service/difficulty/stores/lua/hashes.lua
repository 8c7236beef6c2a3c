-- Reading and writing hashes, and the index of names, of any size: Lua's stack bounds the arguments of one call.
-- After layout.lua.

-- Fields of a hash by name: field -> value, missing ones left out. Lua's stack bounds one call's arguments.
local function fetch(key, fields)
  local result = {}
  for from = 1, #fields, 4000 do
    local to = math.min(from + 3999, #fields)
    local values = call('HMGET', key, unpack(fields, from, to))
    for i = from, to do
      local value = values[i - from + 1]
      if value then result[fields[i]] = value end
    end
  end
  return result
end

-- Values of a hash, false where missing, in the order of the fields.
local function values(key, fields)
  if #fields == 0 then return {} end
  if #fields <= 4000 then return call('HMGET', key, unpack(fields)) end
  local result = {}
  for from = 1, #fields, 4000 do
    for _, value in ipairs(call('HMGET', key, unpack(fields, from, math.min(from + 3999, #fields)))) do
      result[#result + 1] = value
    end
  end
  return result
end

-- flat: field, value, field, value, ...
local function put(key, flat)
  for from = 1, #flat, 4000 do
    call('HSET', key, unpack(flat, from, math.min(from + 3999, #flat)))
  end
end

local function pairs_of(key)
  local flat, result = call('HGETALL', key), {}
  for i = 1, #flat, 2 do result[flat[i]] = flat[i + 1] end
  return result
end

-- The index of problem names, for pages in their order. flat: '0', name, '0', name, ...
local function add_to_index(prefix, flat)
  for from = 1, #flat, 4000 do
    call('ZADD', prefix .. 'i', unpack(flat, from, math.min(from + 3999, #flat)))
  end
end
