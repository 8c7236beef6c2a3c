-- Records of steps: mean|integers|before|after: 16 integers, then the run's five ages unless all are 0.
-- After level.lua.

local function parse_step(text)
  local mean, integers, before, after = string.match(text, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
  return {mean = tonumber(mean), integers = numbers(integers), before = numbers(before), after = numbers(after)}
end

local function format_step(r)
  local words = {}
  for i, x in ipairs(r.integers) do words[i] = integer(x) end
  return (r.mean and double(r.mean) or '-') .. '|' .. table.concat(words, ',') .. '|' .. join(r.before) .. '|'
         .. join(r.after)
end

local function get_step(prefix, step)
  local text = call('HGET', prefix .. 'h', integer(step))
  return text and parse_step(text)
end

local function put_step(prefix, step, record)
  call('HSET', prefix .. 'h', integer(step), format_step(record))
  call('ZADD', prefix .. 's', integer(step), integer(step))
end

-- The open step's record as it would be if it closed with the groups it has.
local function close_record(run, buckets, observed_groups)
  local after, mean = accumulators_after(run, buckets)
  local n = {0, 0, 0, 0, 0, 0, observed_groups, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for _, c in pairs(buckets) do
    n[1] = n[1] + c.groups
    n[2] = n[2] + c.size * c.groups
    n[3] = n[3] + c.passes * c.groups
    n[6] = n[6] + c.truncated
    n[9] = n[9] + c.tokens
    n[10] = n[10] + c.tokens_count
    n[11] = n[11] + c.correct
    n[12] = n[12] + c.correct_count
    local beta = c.passes / c.size - after[1]
    if beta > 0 then
      n[4] = n[4] + c.groups
      n[13] = n[13] + c.tokens
      n[14] = n[14] + c.tokens_count
    elseif beta < 0 then
      n[5] = n[5] + c.groups
      n[15] = n[15] + c.tokens
      n[16] = n[16] + c.tokens_count
    end
  end
  if math.max(unpack(run.ages)) > 0 then
    for i, x in ipairs(run.ages) do n[16 + i] = x end
  end
  return {mean = mean, integers = n, before = run.start, after = after}
end
