-- Counting the groups of a commit, or recording them as stale. After commit_records.lua and sources.lua.

local function request_mean(list)
  local by_size = {}
  for _, g in ipairs(list) do by_size[g.size] = (by_size[g.size] or 0) + g.passes end
  return mean_pass_ratio(#list, by_size)
end

-- The content of the answer, and the values that the groups of this request share.
local function make_result(flags, level, step_level, mean, extras, states, lengths)
  local more = #extras > 0 and struct.pack('<' .. string.rep('d', #extras), unpack(extras)) or ''
  local head = struct.pack(HEAD, level, step_level, mean, flags, #extras) .. more
  states[1] = head .. states[1] -- joined once: Lua hashes every byte of each string that it makes
  for i = 1, #lengths do
    if lengths[i] == NO_LENGTHS then lengths[i] = '' end
  end
  return {step_level = step_level, mean = mean, flags = flags, shared = table.concat(states),
          lengths = #lengths > 0 and pack_parts(lengths) or ''}
end

-- States by place, from states by problem; places of groups that are not in the list stay empty.
local function states_by_index(list, by_problem)
  local states = {}
  for i = 1, n do states[i] = EMPTY end
  for _, g in ipairs(list) do states[g.index] = by_problem[g.problem] end
  return states
end

-- Lengths by place, in a run that keeps them with its groups.
local function lengths_by_index(list, by_problem)
  local lengths = {}
  if not run.config.group_lengths then return lengths end
  for i = 1, n do lengths[i] = NO_LENGTHS end
  for _, g in ipairs(list) do lengths[g.index] = by_problem[g.problem] end
  return lengths
end

-- The step after groups were added to its cells.
local function count_result(buckets, list, states, lengths)
  save_buckets(prefix, buckets)
  local after, mean = accumulators_after(run, buckets)
  local level = run.config.reference == 'previous' and run.start[1] or after[1]
  return make_result(0, level, after[1], mean or request_mean(list), {unpack(run.start, 2)}, states, lengths)
end

-- Count all groups of a plain request, from the buckets and numbers that Python packed.
local function count_plain()
  add_ages(run)
  count_sources()
  local buckets = load_buckets(prefix, run)
  for at = 1, #packed_buckets, BUCKET_BYTES do
    add_to_bucket(buckets, generation, struct.unpack(BUCKET, packed_buckets, at))
  end
  local states, lengths = apply_groups(prefix, run, problem_ids, additions, only_singles)
  return count_result(buckets, nil, states, lengths)
end

-- Count these groups, where not all are new and plain.
local function count(list)
  add_ages(run, list)
  local counted, others, by_problem, lengths, buckets = {}, {}, {}, {}, load_buckets(prefix, run)
  for _, g in ipairs(list) do
    if g.counts then
      add_group(buckets, generation, g)
      counted[#counted + 1] = g
    end
  end
  count_sources(counted)
  local ids, states, lengths_before = apply_group_list(prefix, run, counted)
  for i, id in ipairs(ids) do by_problem[id], lengths[id] = states[i], lengths_before[i] end
  for _, g in ipairs(list) do
    if not by_problem[g.problem] then others[#others + 1] = g.problem end
  end
  local other_states, other_lengths = problems_before(prefix, run, run.open, others)
  for id, state in pairs(other_states) do by_problem[id], lengths[id] = state, other_lengths[id] end
  return count_result(buckets, list, states_by_index(list, by_problem), lengths_by_index(list, lengths))
end

local function record_late_groups(step, list)
  local record = get_step(prefix, step)
  if not record then
    -- A step that never opened and lies before one that did: it leaves the accumulators as they were.
    local earlier = call('ZREVRANGEBYSCORE', prefix .. 's', '(' .. integer(step), '-inf', 'LIMIT', 0, 1)[1]
    local last = get_step(prefix, tonumber(earlier or run.pruned))
    local values = last and last.after or initial_values(prefix, run)
    record = {integers = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, before = values, after = values}
    run.first = math.min(run.first or step, step)
  end
  record.integers[8] = record.integers[8] + #list
  local problems = {}
  for i, g in ipairs(list) do problems[i] = g.problem end
  local by_problem, lengths = problems_before(prefix, run, step, problems)
  put_step(prefix, step, record)
  local level = run.config.reference == 'previous' and record.before[1] or record.after[1]
  return make_result(1, level, record.after[1], record.mean or request_mean(list), {unpack(record.before, 2)},
                  states_by_index(list, by_problem), lengths_by_index(list, lengths))
end

-- Level and mean of an answer that is all replay: as first answered, where its records agree on it.
local function recorded_level(step, records)
  local level, mean = head_of(records[1])
  for i = 2, #records do
    local other_level, other_mean = head_of(records[i])
    if other_level ~= level or other_mean ~= mean then
      if step == run.open then
        local after, now = accumulators_after(run, load_buckets(prefix, run))
        if now then return after[1], now end
      else
        local record = get_step(prefix, step)
        if record and record.mean then return record.after[1], record.mean end
      end
      return level, mean
    end
  end
  return level, mean
end
