-- Keys and packed formats of the difficulty state. First part of every script.
-- Semantics: docs/design.md, 5.1 to 5.12. Packed formats: codec.py.
--
-- Keys of a run, all under one hash tag, P (`prefix` in the code) = dc:{run}: (a checkpoint's: dc:{run}:c:NAME:)
--   P m         meta: config, kind, the open step, incarnation, version, ...  hash
--   P t         tallies of the open step                  hash  generation:size:passes -> integers
--   P h         history                                   hash  step -> mean|integers|before|after
--   P b         sums of steps by data source              zset  step, names and their sums (sources.lua), by step
--   P s         closed steps whose records are kept       zset
--   P p         problems                                  hash  problem_id -> state before + tally of its last step,
--                                                     lengths before + those of the tally
--   P i         problem_ids, from the first look on       zset  all of one score, in their own order
--   P g:STEP    groups                                    hash  group_id -> what was sent of it, or \252 -> that of all groups
--                                                     of one request (groups.lua); \255 and the token of a
--                                                     request -> what its groups were answered from, \254 and the token
--                                                     -> their payloads, \253 and the token -> their problems'
--                                                     lengths (commit.lua)
--   P u:STEP    undo: problems before that step           hash  problem_id -> record
--   P n:STEP    undo: further problems of the step, whose record's state before it is the whole undo record; packed names     list
--   P w         steps with observations; in asynchronous runs, at which observed groups arrived   zset
--   P o:STEP    observed groups                           hash  group_id -> tallies, problem_id
--   P r:STEP    observed rollouts of a step not closed    hash  length:group_id rollout_id -> content
--   P q, P qs   stepless requests and their order         hash, zset
--   P ds        data set: its record, number of priors, pending mark, generation of the index      hash, of runs that have one
--   P dx        index of the data set                     zset  problem_id by (source, bin, place) (dataset.lua)
--   P dp        priors                                    hash  problem_id -> packed prior
--   P dn        number of problems by (source, bin)       hash
--   P dv        counts of problems by last visit, in runs that retire some   hash  step -> numbers by stratum; 'of' (visits.lua)
--   P sm        samples                                   hash  step -> JSON
--   dc:{run}:e  the epoch; outlives the run               string
--   dc:{run}:a  when the run was last used, in seconds    string
--   dc:{run}:c  checkpoints                               hash  name -> step level problems epoch bytes
-- Doubles in text are %.17g, in binary their 8 bytes: nothing is rounded.

local STATE, STATE_BYTES = '<I4I4dddI4BI4dI4d', 61
local TALLY = '<dI4I4I4dI4'
local RECORD = STATE .. string.sub(TALLY, 2)
local RECORD_BYTES = STATE_BYTES + 32 -- then the lengths (lengths.lua)
local ADDED, ADDED_BYTES = '<I4I4I4dI4', 24 -- a tally without its step: attempts, passes, shortest, sum, count
local OBSERVED, OBSERVED_BYTES = '<I4I4I4I4ddI4Bd', 45
local SCHEMA_VERSION = 3 -- 2: incarnation, version and created_step in the meta; 3: portions of lengths (lengths.lua)
local NONE, RATIO_ONE, CHANGE_ONE = 4294967295, 1073741824, 65536
local EMPTY = struct.pack(STATE, 0, 0, 0, 0, 0, 0, 0, NONE, 0, 0, -1)
local call = redis.call

local function integer(x) return string.format('%.0f', x) end
local function double(x) return string.format('%.17g', x) end

local function numbers(text)
  local result = {}
  for word in string.gmatch(text, '[^ ,]+') do result[#result + 1] = tonumber(word) end
  return result
end

local function join(list)
  local words = {}
  for i, x in ipairs(list) do words[i] = double(x) end
  return table.concat(words, ' ')
end
