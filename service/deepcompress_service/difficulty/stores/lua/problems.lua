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

-- A problem after the step of its tally, packed, from the values of its RECORD.
local function folded(weight, level, attempts, passes, ratio, _, _, turns, flags, shortest, sum, count, _, tstep,
                      tattempts, tpasses, tshortest, tsum, tcount)
  local last = tpasses / tattempts
  local beta, before = last - level, math.floor(flags / 4)
  local side = beta > 0 and 1 or beta < 0 and 2 or before
  if before ~= 0 and side ~= before then turns = turns + 1 end
  if tshortest < shortest then shortest = tshortest end
  if flags % 2 == 1 then ratio = (1 - weight) * ratio + weight * last else ratio = last end
  return struct.pack(STATE, attempts + tattempts, passes + tpasses, ratio, last, beta, turns, 3 + 4 * side, shortest,
                     sum + tsum, count + tcount, tstep)
end

local function fold(raw, weight, level)
  local _, tattempts = struct.unpack('<dI4', raw, STATE_BYTES + 1)
  if tattempts == 0 then return string.sub(raw, 1, STATE_BYTES) end
  return folded(weight, level, struct.unpack(RECORD, raw))
end

-- The level at the end of a step that is not open, 0 where there is none. Anchored: looked for from the line's end, the
-- last of its four parts takes Lua some twenty times as long, and a request may ask for as many steps as it has groups.
local function level_of(prefix, step)
  local text = step >= 0 and call('HGET', prefix .. 'h', integer(step))
  return text and tonumber(string.match(text, '^[^|]*|[^|]*|[^|]*|([^| ]+)')) or 0
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
        levels[r.tstep] = levels[r.tstep] or level_of(prefix, r.tstep)
        states[id] = fold(r.raw, run.config.problem_weight, levels[r.tstep])
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
