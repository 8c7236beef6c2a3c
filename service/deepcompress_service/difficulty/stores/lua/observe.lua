-- Observations of one run: what verify saw of groups that are not shaped yet (docs/design.md, 5.5).
-- KEYS[1] the run's meta. ARGV: how many steps may wait where the run does not exist yet, for how many seconds they
-- wait for a run that was never trained, then for each observation: step, epoch believed in, group_id, rollout_id,
-- problem_id, its packed content.
-- Answers one digit for each: 1 where it is recorded, now or before as the same.

local CONTENT = '<BBBdd'
local P = string.sub(KEYS[1], 1, -2)
local epoch, m = epoch_of(P), load_meta(P)
local keep = m and m.config.keep_steps or tonumber(ARGV[1])
local count, answers = (#ARGV - 2) / 6, {}
for i = 1, count do answers[i] = 0 end
if m and m.kind == 'stepless' then return table.concat(answers) end

local closed, by_step, steps = m and m.closed or -1, {}, {}
for i = 1, count do
  local at = 6 * i - 3
  local step = tonumber(ARGV[at])
  if step > closed and (ARGV[at + 1] == '' or tonumber(ARGV[at + 1]) == epoch) then
    if not by_step[step] then
      by_step[step] = {}
      steps[#steps + 1] = step
    end
    table.insert(by_step[step], {index = i, group = ARGV[at + 2], rollout = ARGV[at + 3], problem = ARGV[at + 4],
                                 content = ARGV[at + 5]})
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
  local shaped, packed, rollouts = fetch(P .. 'g:' .. n, ids), fetch(P .. 'o:' .. n, ids), fetch(P .. 'r:' .. n, keys)
  local groups, changed, flat, new = {}, {}, {}, {}
  for _, o in ipairs(list) do
    local g = groups[o.group]
    if not g and not shaped[o.group] then
      if packed[o.group] then
        g = unpack_observed(packed[o.group])
      else
        g = {size = 0, passes = 0, truncated = 0, tokens_known = 0, tokens = 0, correct = 0, least = NONE,
             counts = true, generation = 0, problem = o.problem}
      end
      groups[o.group] = g
    end
    if g and g.problem == o.problem then
      if rollouts[o.key] then
        if rollouts[o.key] == o.content then answers[o.index] = 1 end
      else
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
          end
        end
      end
    end
  end
  for id, g in pairs(changed) do
    flat[#flat + 1] = id
    flat[#flat + 1] = struct.pack(OBSERVED, g.size, g.passes, g.truncated, g.tokens_known, g.tokens, g.correct,
                                  g.least, g.counts and 1 or 0, g.generation) .. g.problem
  end
  if #flat > 0 then
    put(P .. 'r:' .. n, new)
    put(P .. 'o:' .. n, flat)
    call('ZADD', P .. 'w', n, n)
  end
end

local waiting = call('ZCOUNT', P .. 'w', '(' .. integer(closed), '+inf')
for _, step in ipairs(steps) do
  local known = call('ZSCORE', P .. 'w', integer(step))
  if known or waiting < keep then
    observe_step(step, by_step[step])
    if not known and call('ZSCORE', P .. 'w', integer(step)) then waiting = waiting + 1 end
  end
end
if m then used(P) end
if not m or m.kind == '' then keep_observations(P, ARGV[2]) end
return table.concat(answers)
