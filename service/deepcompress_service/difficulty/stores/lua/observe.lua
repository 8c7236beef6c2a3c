-- Record observations of one run: rollouts of groups that are not shaped yet (docs/design.md, 5.5).
--
-- KEYS[1]  key of the run's record
-- ARGV[1]  number of steps that may have observations if the run does not exist
-- ARGV[2]  seconds after which observations expire if the run was never trained
-- ARGV[3]  most groups that wait from one step, in an asynchronous run
-- ARGV[4]  most observed rollouts of such a group
-- ARGV[5..]  seven for each observation: step ('' for an asynchronous run), epoch that the caller named (or ''), group_id, rollout_id, problem_id,
--            packed content (CONTENT), the bin of its length (one byte, or '')
--
-- Returns one digit for each observation: 1 if it is recorded, now or before with the same content.

local CONTENT = '<BBBdd'
local prefix, default_keep, observations_seconds = string.sub(KEYS[1], 1, -2), tonumber(ARGV[1]), ARGV[2]
local most_waiting, most_rollouts = tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST, EACH = 5, 7 -- index in ARGV of the first observation, arguments of each

local epoch, run = epoch_of(prefix), load_run(prefix)
local keep = run and run.config.keep_steps or default_keep
local count, answers = (#ARGV - FIRST + 1) / EACH, {}
for i = 1, count do answers[i] = 0 end
if run and run.kind == 'stepless' then return table.concat(answers) end

local asynchronous = run and run.asynchronous or false
local closed, by_step, steps = run and run.closed or -1, {}, {}
for i = 1, count do
  local at = FIRST + EACH * (i - 1)
  local step = tonumber(ARGV[at])
  local in_epoch = ARGV[at + 1] == '' or tonumber(ARGV[at + 1]) == epoch
  if in_epoch and asynchronous == (step == nil) and (asynchronous or step > closed) then
    step = step or ''
    if not by_step[step] then
      by_step[step] = {}
      steps[#steps + 1] = step
    end
    table.insert(by_step[step], {index = i, group = ARGV[at + 2], rollout = ARGV[at + 3], problem = ARGV[at + 4],
                                 content = ARGV[at + 5], bin = ARGV[at + 6]})
  end
end
table.sort(steps)

local function observe_step(step, list)
  local n, ids, keys, seen = integer(step), {}, {}, {}
  for i, o in ipairs(list) do
    if not seen[o.group] then
      seen[o.group] = true
      ids[#ids + 1] = o.group
    end
    o.key = integer(#o.group) .. ':' .. o.group .. o.rollout
    keys[i] = o.key
  end
  local shaped = fetch_groups(prefix .. 'g:' .. n, ids)
  local packed, rollouts = fetch(prefix .. 'o:' .. n, ids), fetch(prefix .. 'r:' .. n, keys)
  local groups, changed, flat, new = {}, {}, {}, {}
  for _, o in ipairs(list) do
    local g = groups[o.group]
    if not g and not shaped[o.group] then
      if packed[o.group] then
        g = unpack_observed(packed[o.group])
      else
        g = {size = 0, passes = 0, truncated = 0, tokens_known = 0, tokens = 0, correct = 0, least = NONE,
             counts = true, generation = 0, problem = o.problem, lengths = NO_LENGTHS}
      end
      groups[o.group] = g
    end
    if g and g.problem == o.problem then
      if rollouts[o.key] then
        if rollouts[o.key] == o.content then answers[o.index] = 1 end
      elseif not asynchronous or g.size < most_rollouts then
        answers[o.index] = 1
        rollouts[o.key] = o.content
        new[#new + 1] = o.key
        new[#new + 1] = o.content
        changed[o.group] = g
        local correct, counts, truncated, tokens, generation = struct.unpack(CONTENT, o.content)
        g.size = g.size + 1
        g.passes = g.passes + correct
        g.truncated = g.truncated + truncated
        g.counts = g.counts and counts == 1
        g.generation = math.max(g.generation, generation)
        if tokens >= 0 then
          g.tokens_known = g.tokens_known + 1
          g.tokens = g.tokens + tokens
          if correct == 1 then
            g.correct = g.correct + tokens
            g.least = math.min(g.least, tokens)
            if o.bin ~= '' then g.lengths = joined_lengths(g.lengths, '\0\0\1\0' .. o.bin) end
          end
        end
      end
    end
  end
  for id, g in pairs(changed) do
    flat[#flat + 1] = id
    flat[#flat + 1] = pack_observed(g)
  end
  if #flat > 0 then
    put(prefix .. 'r:' .. n, new)
    put(prefix .. 'o:' .. n, flat)
    call('ZADD', prefix .. 'w', n, n)
  end
end

-- The observations of an asynchronous run, by the step that they are stored under.
local function observe_waiting(list)
  local ids, seen, places_now = {}, {}, {}
  for _, o in ipairs(list) do
    if not seen[o.group] then
      seen[o.group] = true
      ids[#ids + 1] = o.group
    end
  end
  local shaped = recorded_groups(prefix, run, ids)
  local known, places = waiting_groups(prefix, ids)
  local now = run.open or run.closed + 1
  local free = most_waiting - call('HLEN', prefix .. 'o:' .. integer(now))
  local here, order = {}, {}
  for _, o in ipairs(list) do
    local place
    if shaped[o.group] then
      place = nil
    elseif known[o.group] then
      place = not unpack_observed(known[o.group]).discarded and tonumber(places[o.group]) or nil
    elseif places_now[o.group] then
      place = now
    elseif free > 0 then
      place, free, places_now[o.group] = now, free - 1, true
    end
    if place then
      if not here[place] then
        here[place] = {}
        order[#order + 1] = place
      end
      table.insert(here[place], o)
    end
  end
  for _, place in ipairs(order) do observe_step(place, here[place]) end
end

if asynchronous then
  if by_step[''] then observe_waiting(by_step['']) end
else
  local waiting = call('ZCOUNT', prefix .. 'w', '(' .. integer(closed), '+inf')
  for _, step in ipairs(steps) do
    local known = call('ZSCORE', prefix .. 'w', integer(step))
    if known or waiting < keep then
      observe_step(step, by_step[step])
      if not known and call('ZSCORE', prefix .. 'w', integer(step)) then waiting = waiting + 1 end
    end
  end
end
if run then mark_used(prefix) end
if not run or run.kind == '' then keep_observations(prefix, observations_seconds) end
return table.concat(answers)
