-- Observed groups, and those of asynchronous runs, which wait by group_id (waiting.py). After lengths.lua.

local OBSERVED_DISCARDED = 4 -- flag of an observed group

local function unpack_observed(raw)
  local g, at = {}, OBSERVED_BYTES + 1
  local flags, known
  g.size, g.passes, g.truncated, known, g.tokens, g.correct, g.least, flags, g.generation =
    struct.unpack(OBSERVED, raw)
  g.counts, g.tokens_known, g.known = flags % 2 == 1, known, known == g.size
  g.discarded = flags >= OBSERVED_DISCARDED
  g.lengths = NO_LENGTHS
  if flags % OBSERVED_DISCARDED >= OBSERVED_LENGTHS then
    local length = struct.unpack('<I2', raw, at)
    g.lengths, at = string.sub(raw, at + 2, at + 1 + length), at + 2 + length
  end
  g.problem = string.sub(raw, at)
  return g
end

local function pack_observed(g)
  local flags, lengths = (g.counts and 1 or 0) + (g.discarded and OBSERVED_DISCARDED or 0), ''
  if g.lengths ~= NO_LENGTHS then
    flags, lengths = flags + OBSERVED_LENGTHS, struct.pack('<I2', #g.lengths) .. g.lengths
  end
  return struct.pack(OBSERVED, g.size, g.passes, g.truncated, g.tokens_known, g.tokens, g.correct, g.least, flags,
                     g.generation) .. lengths .. g.problem
end

-- Steps whose groups have records, the newest first.
local function kept_steps(prefix, run)
  local steps = call('ZREVRANGE', prefix .. 's', 0, -1)
  if run.open then table.insert(steps, 1, integer(run.open)) end
  return steps
end

-- Fields `ids` of the hashes kind .. step of these steps: id -> value, id -> step; missing ones left out.
local function fetch_anywhere(prefix, kind, steps, ids)
  local found, places, missing = {}, {}, ids
  for _, step in ipairs(steps) do
    if #missing == 0 then break end
    local here, rest = (kind == 'g:' and fetch_groups or fetch)(prefix .. kind .. step, missing), {}
    for _, id in ipairs(missing) do
      if here[id] then
        found[id], places[id] = here[id], step
      else
        rest[#rest + 1] = id
      end
    end
    missing = rest
  end
  return found, places
end

local function recorded_groups(prefix, run, ids) return fetch_anywhere(prefix, 'g:', kept_steps(prefix, run), ids) end

local function waiting_groups(prefix, ids)
  return fetch_anywhere(prefix, 'o:', call('ZRANGE', prefix .. 'w', 0, -1), ids)
end

-- Discard, as the open step closes, the groups that waited too long. Steps that exist since they arrived are counted.
local function discard_expired(prefix, run)
  local steps, waits, max_age = kept_steps(prefix, run), run.config.keep_steps - 1, run.config.max_age
  if max_age and max_age ~= cjson.null then waits = math.min(waits, max_age) end
  for _, arrived in ipairs(call('ZRANGE', prefix .. 'w', 0, -1)) do
    local since = 0
    for _, step in ipairs(steps) do
      if tonumber(step) >= tonumber(arrived) then since = since + 1 end
    end
    if since > waits then
      local groups, ids = pairs_of(prefix .. 'o:' .. arrived), {}
      for id in pairs(groups) do ids[#ids + 1] = id end
      local shaped = recorded_groups(prefix, run, ids)
      for id, raw in pairs(groups) do
        if not shaped[id] and not unpack_observed(raw).discarded then run.ages[5] = run.ages[5] + 1 end
      end
      call('UNLINK', prefix .. 'o:' .. arrived, prefix .. 'r:' .. arrived)
      call('ZREM', prefix .. 'w', arrived)
    end
  end
end
