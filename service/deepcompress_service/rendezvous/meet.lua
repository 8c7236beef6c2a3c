-- One step of a rendezvous: a rollout arrives for its slot, or someone looks where a round of its cohort stands.
-- KEYS[1] names the cohort's newest round; KEYS[1]:<round> is that round, a hash: a(ttempt) n(size) h(eader)
-- d(eadline, ms) r(eleased) t(ombstone, ms) p(revious round) and s<slot> = digest .. payload.
-- A round is the millisecond in which it began, or one more than the last. The keys share a hash tag, so one node has all.
-- ARGV: 'arrive', attempt, slot, size, header, digest, payload, timeout ms, tombstone ms, renewal; or
--       'look', attempt, slot, round.
-- Answers {'collecting', round, remaining ms, arrived}, {'released', round, slot, payload, ...} or {'refused', why}.

local attempt, slot = tonumber(ARGV[2]), 's' .. ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function integer(number) return string.format('%.0f', number) end
local function key_of(round) return KEYS[1] .. ':' .. round end

-- A round as a table, or nil where there is none (any more).
local function load(round)
  local flat = round and redis.call('HGETALL', key_of(round)) or {}
  if #flat == 0 then return nil end
  local found = {round = round, slots = {}, arrived = 0}
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 1) == 's' then
      found.slots[flat[i]] = flat[i + 1]
      found.arrived = found.arrived + 1
    else
      found[flat[i]] = flat[i + 1]
    end
  end
  return found
end

local function release(found)
  if found.r then return end
  redis.call('HSET', key_of(found.round), 'r', '1')
  redis.call('PEXPIRE', key_of(found.round), found.t)
  found.r = '1'
end

local function over(found)
  if now >= tonumber(found.d) or found.arrived >= tonumber(found.n) then release(found) end
  return found.r
end

local function stand(found)
  if not over(found) then return {'collecting', found.round, integer(found.d - now), found.arrived} end
  local answer = {'released', found.round}
  for name, content in pairs(found.slots) do
    answer[#answer + 1] = string.sub(name, 2)
    answer[#answer + 1] = string.sub(content, 17)
  end
  return answer
end

local newest = redis.call('GET', KEYS[1])

if ARGV[1] == 'look' then
  local found = load(ARGV[4])
  if not found then
    local current = load(newest or nil)
    return {'refused', (current and attempt < tonumber(current.a)) and 'superseded' or 'gone'}
  end
  if not found.slots[slot] then return {'refused', 'late'} end
  return stand(found)
end

local size, header, digest, payload = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local timeout, tombstone, renewal = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local function holds(found) return found and found.slots[slot] and string.sub(found.slots[slot], 1, 16) == digest end

local found = load(newest or nil)
local previous = newest or ''
if found and attempt > tonumber(found.a) then
  if over(found) then
    if renewal == 'never' then return {'refused', 'late'} end
  else
    redis.call('DEL', key_of(found.round))
    previous = found.p
  end
  found = nil
elseif found and attempt < tonumber(found.a) then
  return {'refused', 'superseded'}
elseif found and renewal == 'content' and not holds(found) then
  local before = load(found.p ~= '' and found.p or nil)
  -- A late repeat of the round before, while the next one collects already.
  if holds(before) then return stand(before) end
  if over(found) then found = nil end
end
if not found then
  local round = integer(math.max(now, (tonumber(newest or '') or 0) + 1))
  local key = key_of(round)
  redis.call('HSET', key, 'a', attempt, 'n', size, 'h', header, 'd', integer(now + timeout), 't', tombstone, 'p', previous)
  redis.call('PEXPIRE', key, timeout + tombstone)
  redis.call('SET', KEYS[1], round, 'PX', integer(timeout + 2 * tombstone))
  found = load(round)
end
if found.h ~= header then return {'refused', 'mismatch'} end
if not found.slots[slot] then
  if over(found) then return {'refused', 'late'} end
  redis.call('HSET', key_of(found.round), slot, digest .. payload)
  found.slots[slot] = digest .. payload
  found.arrived = found.arrived + 1
elseif not holds(found) then
  return {'refused', 'conflict'}
end
return stand(found)
