-- One step of a rendezvous: a rollout arrives for its slot, or someone looks where the cohort stands.
-- KEYS[1] the cohort, a hash: a(ttempt) n(size) h(eader) d(eadline, ms) r(eleased) and s<slot> = digest .. payload.
-- ARGV: 'arrive' or 'look', attempt, slot; for arrive also size, header, digest, payload, timeout and tombstone in ms.
-- Answers {'collecting', remaining ms, arrived}, {'released', slot, payload, ...} or {'refused', why}.

local key, attempt, slot = KEYS[1], tonumber(ARGV[2]), 's' .. ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function release(cohort, tombstone)
  redis.call('HSET', key, 'r', '1')
  redis.call('PEXPIRE', key, tombstone)
  cohort.r = '1'
end

local function load()
  local flat, cohort, arrived = redis.call('HGETALL', key), {slots = {}}, 0
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 1) == 's' then
      cohort.slots[flat[i]] = flat[i + 1]
      arrived = arrived + 1
    else
      cohort[flat[i]] = flat[i + 1]
    end
  end
  return cohort, arrived
end

local cohort, arrived = load()
if ARGV[1] == 'arrive' then
  local size, header, digest, payload = tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
  local timeout, tombstone = tonumber(ARGV[8]), tonumber(ARGV[9])
  if cohort.a and attempt > tonumber(cohort.a) then
    if cohort.r then return {'refused', 'late'} end
    redis.call('DEL', key)
    cohort, arrived = {slots = {}}, 0
  end
  if not cohort.a then
    redis.call('HSET', key, 'a', attempt, 'n', size, 'h', header, 'd', now + timeout, 't', tombstone)
    redis.call('PEXPIRE', key, timeout + tombstone)
    cohort = {a = attempt, n = size, h = header, d = now + timeout, t = tombstone, slots = {}}
  end
  if attempt < tonumber(cohort.a) then return {'refused', 'superseded'} end
  if cohort.h ~= header then return {'refused', 'mismatch'} end
  local there = cohort.slots[slot]
  if there and string.sub(there, 1, 16) ~= digest then return {'refused', 'conflict'} end
  if not there and not cohort.r and now >= tonumber(cohort.d) then release(cohort, cohort.t) end
  if not there and cohort.r then return {'refused', 'late'} end
  if not there then
    redis.call('HSET', key, slot, digest .. payload)
    cohort.slots[slot] = digest .. payload
    arrived = arrived + 1
  end
else
  if not cohort.a then return {'refused', 'gone'} end
  if attempt < tonumber(cohort.a) then return {'refused', 'superseded'} end
  if not cohort.slots[slot] then return {'refused', 'late'} end
end
if not cohort.r and (arrived >= tonumber(cohort.n) or now >= tonumber(cohort.d)) then release(cohort, cohort.t) end
if not cohort.r then return {'collecting', cohort.d - now, arrived} end
local answer = {'released'}
for name, content in pairs(cohort.slots) do
  answer[#answer + 1] = string.sub(name, 2)
  answer[#answer + 1] = string.sub(content, 17)
end
return answer
