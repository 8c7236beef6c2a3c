-- Adding groups of the open step to their problems (engine.apply_groups). After problems.lua.

-- What groups add to their problems: the problems, each once, and an addition to each.
local function additions_of(groups)
  local ids, index, attempts, passes, shortest, sums, counts, lengths = {}, {}, {}, {}, {}, {}, {}, {}
  for _, g in ipairs(groups) do
    local i = index[g.problem]
    if not i then
      i = #ids + 1
      ids[i], index[g.problem] = g.problem, i
      attempts[i], passes[i], shortest[i], sums[i], counts[i], lengths[i] = 0, 0, NONE, 0, 0, NO_LENGTHS
    end
    attempts[i] = attempts[i] + g.size
    passes[i] = passes[i] + g.passes
    if g.known then
      sums[i] = sums[i] + g.correct
      counts[i] = counts[i] + g.passes
      if g.least < shortest[i] then shortest[i] = g.least end
      lengths[i] = joined_lengths(lengths[i], g.lengths)
    end
  end
  local packed = {}
  for i = 1, #ids do
    packed[i] = struct.pack(ADDED, attempts[i], passes[i], shortest[i], sums[i], counts[i])
                .. pack_lengths(0, NO_LENGTHS, lengths[i])
  end
  return ids, packed
end

-- Add to the problems `ids`, all different, what the open step brought them: an addition for each, ADDED and the end of the
-- record of a new problem; `are_singles`: their lengths are single rollouts. Answers each problem as it
-- stood before the step, packed, and the lengths of each then.
local function apply_groups(prefix, run, ids, additions, are_singles)
  local result, before, flat, undo, names, new, levels = values(prefix .. 'p', ids), {}, {}, {}, {}, {}, {}
  local open, pruned, weight, step, lengths = run.open, run.pruned, run.config.problem_weight, struct.pack('<d', run.open), {}
  local cut, take, byte, undone, named, longest = string.sub, struct.unpack, string.byte, 0, 0, RECORD_BYTES + MOST_BYTES
  local keeps_lengths, lengths_before, revisits = run.config.group_lengths, {}, run.changing and run.revisits
  local sums_ratios = run.dataset
  for i, id in ipairs(ids) do
    local raw, more, state, last_step, record = result[i], additions[i], EMPTY, nil, nil
    local old_lengths = NO_LENGTHS
    if not raw then
      run.problems = run.problems + 1
      new[#new + 1] = '0'
      new[#new + 1] = id
    else
      if sums_ratios then run.ratio_sum = run.ratio_sum - counted_ratio(run, raw) end
      state, last_step = state_before(prefix, raw, weight, levels, open)
      if last_step == open then
        local attempts, passes, shortest, sum, count = take(ADDED, raw, STATE_BYTES + 9)
        if revisits then
          local _, _, ratio, _, _, _, flags = take(STATE, raw)
          add_change(revisits, -1, flags, ratio, attempts, passes)
        end
        local a, p, s, t, c = take(ADDED, more)
        more = struct.pack(ADDED, attempts + a, passes + p, math.min(shortest, s), sum + t, count + c)
               .. cut(more, ADDED_BYTES + 1)
      end
    end
    if last_step ~= open then
      if last_step and last_step > pruned then
        undo[undone + 1], undo[undone + 2] = id, raw
        undone = undone + 2
      else
        local length = lengths[#id]
        if not length then
          length = struct.pack('<I2', #id)
          lengths[#id] = length
        end
        names[named + 1], names[named + 2] = length, id
        named = named + 2
      end
    end
    local size = raw and #raw or RECORD_BYTES
    if size == RECORD_BYTES then
      record = state .. step .. more
    elseif last_step ~= open and (are_singles or #more == ADDED_BYTES) then
      if #more == ADDED_BYTES then more = more .. NO_PORTION end
      if not keeps_lengths then
        record = state .. step .. more .. (size > longest and fold_portions(raw) or cut(raw, RECORD_BYTES + 1))
      elseif byte(raw, RECORD_BYTES + 1) < PORTION then
        local visits, counted, singles, added_singles, added_size = take(PAIR, raw, RECORD_BYTES + 1)
        if added_size == 0 then
          if added_singles > 0 then visits, singles = visits + 1, singles + added_singles end
          local a, p, s, t, c = take(ADDED, more)
          local body
          body, visits, counted, singles, old_lengths = fold_singles(raw, visits, counted, singles)
          local sent = #more - ADDED_BYTES - 2
          record = state .. struct.pack(WHOLE_TALLY, open, a, p, s, t, c, visits, counted, singles, sent, 0)
                   .. body .. cut(more, ADDED_BYTES + 3)
        end
      end
    end
    if not record then
      local ending
      ending, old_lengths = add_lengths(raw, last_step == open, more)
      record = state .. step .. cut(more, 1, ADDED_BYTES) .. ending
    end
    if keeps_lengths then lengths_before[i] = old_lengths end
    if revisits then
      local _, _, ratio, _, _, _, flags = take(STATE, state)
      local attempts, passes = take('<I4I4', more)
      add_change(revisits, 1, flags, ratio, attempts, passes)
    end
    if sums_ratios then run.ratio_sum = run.ratio_sum + counted_ratio(run, record) end
    before[i], flat[2 * i - 1], flat[2 * i] = state, id, record
  end
  put(prefix .. 'p', flat)
  put(prefix .. 'u:' .. integer(open), undo)
  if #new > 0 and call('EXISTS', prefix .. 'i') == 1 then add_to_index(prefix, new) end
  if named > 0 then call('RPUSH', prefix .. 'n:' .. integer(open), table.concat(names)) end
  return before, lengths_before
end

local function apply_group_list(prefix, run, groups)
  local ids, additions = additions_of(groups)
  return ids, apply_groups(prefix, run, ids, additions, false)
end
