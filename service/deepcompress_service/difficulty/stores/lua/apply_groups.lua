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
  local open, weight, step, lengths = run.open, run.config.problem_weight, struct.pack('<d', run.open), {}
  local cut, take, byte, undone, named = string.sub, struct.unpack, string.byte, 0, 0
  local keeps_lengths, lengths_before, revisits = run.config.group_lengths, {}, run.changing and run.revisits
  for i, id in ipairs(ids) do
    local raw, more, state = result[i], additions[i], EMPTY
    local last_step, visits, size, singles, added_singles, added_size -- the sizes are those of its lengths, if it has any
    local old_lengths = NO_LENGTHS
    if not raw then
      run.problems = run.problems + 1
      new[#new + 1] = '0'
      new[#new + 1] = id
    else
      if run.dataset then run.ratio_sum = run.ratio_sum - counted_ratio(run, raw) end
      local attempts, passes, ratio, then_ratio, then_beta, turns, flags, shortest, sum, count, then_step, tstep,
            tattempts, tpasses, tshortest, tsum, tcount
      if keeps_lengths and #raw > RECORD_BYTES and byte(raw, RECORD_BYTES + 1) < PORTION then
        attempts, passes, ratio, then_ratio, then_beta, turns, flags, shortest, sum, count, then_step, tstep, tattempts,
          tpasses, tshortest, tsum, tcount, visits, size, singles, added_singles, added_size = take(WHOLE_RECORD, raw)
      else
        attempts, passes, ratio, then_ratio, then_beta, turns, flags, shortest, sum, count, then_step, tstep, tattempts,
          tpasses, tshortest, tsum, tcount = take(RECORD, raw)
      end
      last_step = tstep
      if tstep == open then
        if revisits then add_change(revisits, -1, flags, ratio, tattempts, tpasses) end
        local a, p, s, t, c = take(ADDED, more)
        more = struct.pack(ADDED, tattempts + a, tpasses + p, math.min(tshortest, s), tsum + t, tcount + c)
               .. cut(more, ADDED_BYTES + 1)
        state = cut(raw, 1, STATE_BYTES)
      elseif tattempts == 0 then
        state = cut(raw, 1, STATE_BYTES)
      else
        local level = levels[tstep]
        if not level then
          level = level_of(prefix, tstep)
          levels[tstep] = level
        end
        state = folded(weight, level, attempts, passes, ratio, then_ratio, then_beta, turns, flags, shortest, sum, count,
                       then_step, tstep, tattempts, tpasses, tshortest, tsum, tcount)
      end
    end
    if last_step ~= open then
      if last_step and last_step > run.pruned then
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
    local record
    if not raw or #raw == RECORD_BYTES then
      record = state .. step .. more
    elseif last_step ~= open and (are_singles or #more == ADDED_BYTES) then
      if #more == ADDED_BYTES then more = more .. NO_PORTION end
      if not keeps_lengths then
        record = state .. step .. more .. (#raw > RECORD_BYTES + MOST_BYTES and fold_portions(raw) or cut(raw, RECORD_BYTES + 1))
      elseif visits and added_size == 0 then
        if added_singles > 0 then visits, singles = visits + 1, singles + added_singles end
        local a, p, s, t, c = take(ADDED, more)
        local body
        body, visits, size, singles, old_lengths = fold_singles(raw, visits, size, singles)
        local sent = #more - ADDED_BYTES - 2
        record = state .. struct.pack(WHOLE_TALLY, open, a, p, s, t, c, visits, size, singles, sent, 0)
                 .. body .. cut(more, ADDED_BYTES + 3)
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
    if run.dataset then run.ratio_sum = run.ratio_sum + counted_ratio(run, record) end
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
