-- The arguments of a training request, as redis_commit.commit_arguments packs them. After steps.lua; before the other
-- commit_*.lua, which read the locals named here.
--
-- KEYS[1]   key of the run's record
-- ARGV[1]   step: a number, 'observed', or '' for a stepless request
-- ARGV[2]   epoch that the caller named, or ''
-- ARGV[3]   epoch that the service read on arrival, or ''
-- ARGV[4]   generation, a number
-- ARGV[5]   request_id of a stepless request, or ''
-- ARGV[6]   digest of a stepless request, 16 bytes, or ''
-- ARGV[7]   difficulty configuration (JSON) to create the run with, or ''
-- ARGV[8]   the run's whole configuration (JSON) to create it with
-- ARGV[9]   a group_id that occurs twice in the request, or ''
-- ARGV[10]  '1' if every group counts and has a problem_id that no other group has, else '0' ("plain")
-- ARGV[11]  the request's token: 8 random bytes
-- ARGV[12]  pass-count buckets of all groups, each packed as BUCKET
-- ARGV[13]  further numbers of all groups, each packed as NUMBERS
-- ARGV[14]  the groups: token, their number (32 bits), the digest of each (16 bytes), then each group_id behind its length, then
--           each problem_id behind its length ('' for one to be taken from the group's observations). The problem_ids
--           are left out if every one equals its group_id. (Redis takes longer for a thousand arguments than Lua for
--           cutting one.)
-- ARGV[15]  payloads of all groups: offsets in bytes (where each begins, and where the last ends), then the payloads;
--           '' if all are empty
-- ARGV[16]  incarnation of the run that the caller saw, or ''
-- ARGV[17]  greatest version of the epoch that the caller saw, or ''
-- ARGV[18]  incarnation of a run that has none
-- ARGV[19]  '1' if the lengths of all groups are single rollouts, else '0'; then what each group adds to its problem, behind
--           its length: ADDED and the end of the record of a new problem (lengths.lua)
-- ARGV[20]  age of each group and 1 if it is too old, packed as AGE; '' if no group has an age
-- ARGV[21]  number of each group's data source among those of the request, 32 bits, 0 for none; '' if no group has any
-- ARGV[22]  data sources of the request, and the sums of the groups of each that count (sources.lua)
--
-- A tail is stored of each group: token (8 bytes), index in the request, whether the group counts, digest (16 bytes),
-- length of the problem_id, problem_id (groups.lua). Groups of one request share further fields of the step's hash:
-- \254 .. token: their payloads (ARGV[15]);
-- \253 .. token: in runs that keep them, their problems' lengths before the step, in the form of ARGV[15];
-- \255 .. token: what they were answered from: level, the step's level, mean, flags, number of further accumulators,
--   these, then by index the problem's state before the step.

local NUMBERS, NUMBERS_BYTES = '<BI4d', 13 -- 1 if the group counts plus 2 if its lengths are known; truncated, tokens
local BUCKET, BUCKET_BYTES = '<I4I4I4ddddd', 52
local AGE, AGE_BYTES = '<I4B', 5
local HEAD, HEAD_BYTES = '<dddBB', 26

local prefix = string.sub(KEYS[1], 1, -2)
local sent_step, sent_epoch, expected_epoch, generation = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local request_id, request_digest, new_config, new_config_text = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local duplicate, plain, token = ARGV[9], ARGV[10] == '1', ARGV[11]
local packed_buckets, packed_numbers, packed_groups, payloads_sent = ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local sent_incarnation, sent_version, new_incarnation = ARGV[16], tonumber(ARGV[17]), ARGV[18]
local n = #packed_numbers / NUMBERS_BYTES -- number of groups

local group_ids, problem_ids = ids_of_request(packed_groups)

local additions = cut_up(ARGV[19], n, 2)
local only_singles = string.sub(ARGV[19], 1, 1) == '1'

-- Add the ages of new groups of the open step to the run; `list` is nil for all groups of the request.
local function add_ages(run, list)
  if ARGV[20] == '' then return end
  local ages = run.ages
  for i = 1, list and #list or n do
    local index = list and list[i].index or i
    local age, too_old = struct.unpack(AGE, ARGV[20], AGE_BYTES * (index - 1) + 1)
    ages[4] = ages[4] + too_old
    if age ~= NONE then ages[1], ages[2], ages[3] = ages[1] + age, ages[2] + 1, math.max(ages[3], age) end
  end
end

-- The groups one by one, for requests that are not all new and plain.
local function read_groups()
  local groups = {}
  for i = 1, n do
    local size, passes, least, correct = struct.unpack(ADDED, additions[i])
    local flags, truncated, tokens = struct.unpack(NUMBERS, packed_numbers, NUMBERS_BYTES * (i - 1) + 1)
    local _, _, lengths = lengths_of(additions[i], ADDED_BYTES)
    groups[i] = {index = i, id = group_ids[i], tail = request_tail(packed_groups, i, flags % 2, problem_ids[i]),
                 problem = problem_ids[i], size = size, passes = passes, counts = flags % 2 == 1, known = flags >= 2, truncated = truncated, tokens = tokens, correct = correct,
                 least = least, record = false, lengths = lengths}
  end
  return groups
end
