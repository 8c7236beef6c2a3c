-- One operation of a rendezvous: a rollout arrives for its slot, or a waiting caller polls a round of its cohort.
--
-- KEYS[1]  key with the number of the cohort's newest round; KEYS[1]:<round> is the hash of a round. Both share a hash tag
-- ARGV[1]  'arrive' or 'look'
-- ARGV[2]  attempt, a number
-- ARGV[3]  slot, a number
-- For 'look':
-- ARGV[4]  round
-- For 'arrive':
-- ARGV[4]  size: rollouts of the complete group
-- ARGV[5]  header: digest of what all rollouts of the group must agree on
-- ARGV[6]  digest of the rollout, 16 bytes
-- ARGV[7]  payload
-- ARGV[8]  milliseconds from the round's first arrival to its deadline
-- ARGV[9]  milliseconds that a released round is remembered
-- ARGV[10] renewal: 'never', 'attempt' or 'content'
--
-- Fields of a round: a attempt, n size, h header, d deadline (ms), r released, t remembered for (ms), p previous round,
-- s<slot> digest .. payload. A round's number is the millisecond in which it began, or one more than the last.
--
-- Returns {'collecting', round, remaining ms, arrived}, {'released', round, slot, payload, ...} or {'refused', why}.

local operation, attempt, slot = ARGV[1], tonumber(ARGV[2]), 's' .. ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function integer(number) return string.format('%.0f', number) end
local function key_of(round) return KEYS[1] .. ':' .. round end

-- A round as a table, or nil where there is none (any more).
local function load(round)
  local flat = round and redis.call('HGETALL', key_of(round)) or {}
  if #flat == 0 then return nil end
  local state = {round = round, slots = {}, arrived = 0}
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 1) == 's' then
      state.slots[flat[i]] = flat[i + 1]
      state.arrived = state.arrived + 1
    else
      state[flat[i]] = flat[i + 1]
    end
  end
  return state
end

local function release(state)
  if state.r then return end
  redis.call('HSET', key_of(state.round), 'r', '1')
  redis.call('PEXPIRE', key_of(state.round), state.t)
  state.r = '1'
end

local function over(state)
  if now >= tonumber(state.d) or state.arrived >= tonumber(state.n) then release(state) end
  return state.r
end

local function answer_of(state)
  if not over(state) then return {'collecting', state.round, integer(state.d - now), state.arrived} end
  local answer = {'released', state.round}
  for name, content in pairs(state.slots) do
    answer[#answer + 1] = string.sub(name, 2)
    answer[#answer + 1] = string.sub(content, 17)
  end
  return answer
end

local newest = redis.call('GET', KEYS[1])

if operation == 'look' then
  local look_round = ARGV[4]
  local state = load(look_round)
  if not state then
    local current = load(newest or nil)
    return {'refused', (current and attempt < tonumber(current.a)) and 'superseded' or 'gone'}
  end
  if not state.slots[slot] then return {'refused', 'late'} end
  return answer_of(state)
end

local size, header, digest, payload = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local timeout, tombstone, renewal = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local function holds(state) return state and state.slots[slot] and string.sub(state.slots[slot], 1, 16) == digest end

local state = load(newest or nil)
local previous = newest or ''
if state and attempt > tonumber(state.a) then
  if over(state) then
    if renewal == 'never' then return {'refused', 'late'} end
  else
    redis.call('DEL', key_of(state.round))
    previous = state.p
  end
  state = nil
elseif state and attempt < tonumber(state.a) then
  return {'refused', 'superseded'}
elseif state and renewal == 'content' and not holds(state) then
  local before = load(state.p ~= '' and state.p or nil)
  -- A late repeat of the round before, while the next one collects already.
  if holds(before) then return answer_of(before) end
  if over(state) then state = nil end
end
if not state then
  local round = integer(math.max(now, (tonumber(newest or '') or 0) + 1))
  local key = key_of(round)
  redis.call('HSET', key, 'a', attempt, 'n', size, 'h', header, 'd', integer(now + timeout), 't', tombstone, 'p', previous)
  redis.call('PEXPIRE', key, timeout + tombstone)
  redis.call('SET', KEYS[1], round, 'PX', integer(timeout + 2 * tombstone))
  state = load(round)
end
if state.h ~= header then return {'refused', 'mismatch'} end
if not state.slots[slot] then
  if over(state) then return {'refused', 'late'} end
  redis.call('HSET', key_of(state.round), slot, digest .. payload)
  state.slots[slot] = digest .. payload
  state.arrived = state.arrived + 1
elseif not holds(state) then
  return {'refused', 'conflict'}
end
return answer_of(state)
