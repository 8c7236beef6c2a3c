-- Problem records: unpacking, folding, and the state before a step. After history.lua and lengths.lua.

local function unpack_problem(raw)
  local r = {raw = raw}
  r.attempts, r.passes, r.ratio, r.last, r.beta, r.turns, r.flags, r.shortest, r.sum, r.count, r.step =
    struct.unpack(STATE, raw)
  r.tstep, r.tattempts, r.tpasses = struct.unpack(TALLY, raw, STATE_BYTES + 1)
  return r
end

local function smoothed(known, ratio, newest, weight)
  if not known then return newest end
  return (1 - weight) * ratio + weight * newest
end

-- A problem's part in the sum over all problems, which only `reference: "dataset"` needs: its smoothed pass ratio,
-- its tally counted, in units of 2^-30.
local function counted_ratio(run, raw)
  if not run.dataset then return 0 end
  local r = unpack_problem(raw)
  local ratio, known = r.ratio, r.flags % 2 == 1
  if r.tattempts > 0 then
    ratio = smoothed(known, ratio, r.tpasses / r.tattempts, run.config.problem_weight)
  elseif not known then
    return 0
  end
  return math.floor(ratio * RATIO_ONE + 0.5)
end

-- The level at the end of a step that is not open, 0 where there is none. Anchored: looked for from the line's end, the
-- last of its four parts takes Lua some twenty times as long, and a request may ask for as many steps as it has groups.
local function level_of(prefix, step)
  local text = step >= 0 and call('HGET', prefix .. 'h', integer(step))
  return text and tonumber(string.match(text, '^[^|]*|[^|]*|[^|]*|([^| ]+)')) or 0
end

-- A problem's state without the groups of the open step (nil: with all of its record), packed; and the step of its tally.
-- `levels` has the levels by step that were read so far.
local function state_before(prefix, raw, weight, levels, open)
  local attempts, passes, ratio, _, _, turns, flags, shortest, sum, count, _, step, newest, newest_passes, newest_shortest,
        newest_sum, newest_count = struct.unpack(RECORD, raw)
  if newest == 0 or step == open then return string.sub(raw, 1, STATE_BYTES), step end
  local level = levels[step]
  if not level then
    level = level_of(prefix, step)
    levels[step] = level
  end
  local last, known = newest_passes / newest, flags % 2 == 1
  local beta, side = last - level, (flags - flags % 4) / 4
  if beta ~= 0 then
    local now = beta > 0 and 1 or 2
    if side ~= 0 and side ~= now then turns = turns + 1 end
    side = now
  end
  if newest_shortest < shortest then shortest = newest_shortest end
  return struct.pack(STATE, attempts + newest, passes + newest_passes, known and (1 - weight) * ratio + weight * last or last,
                     last, beta, turns, 3 + 4 * side, shortest, sum + newest_sum, count + newest_count, step), step
end

-- Problems as they stood before a step, packed, by id, following their records back through the undo of later steps;
-- and their lengths, by id.
local function problems_before(prefix, run, step, ids)
  local states, lengths, levels, result = {}, {}, {}, fetch(prefix .. 'p', ids)
  for _, id in ipairs(ids) do
    local raw = result[id]
    if not raw then
      states[id], lengths[id] = EMPTY, NO_LENGTHS
    else
      local r = unpack_problem(raw)
      while r.step >= step do r = unpack_problem(call('HGET', prefix .. 'u:' .. integer(r.tstep), id)) end
      local visits, before, added = lengths_of(r.raw, RECORD_BYTES)
      if r.tstep >= step then
        states[id], lengths[id] = string.sub(r.raw, 1, STATE_BYTES), before
      else
        visits, lengths[id] = folded_lengths(visits, before, added)
        states[id] = state_before(prefix, r.raw, run.config.problem_weight, levels)
      end
    end
  end
  return states, lengths
end

-- Add a problem's change of its pass ratio to the sums over revisited problems, or take it away (sign -1).
local function add_change(revisits, sign, flags, ratio, attempts, passes)
  if flags % 2 == 0 or attempts == 0 then return end
  local change = math.floor((passes / attempts - ratio) * CHANGE_ONE + 0.5)
  revisits[1], revisits[2] = revisits[1] + sign, revisits[2] + sign * change
  revisits[3] = revisits[3] + sign * change * change
end
