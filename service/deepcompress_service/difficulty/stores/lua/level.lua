-- Formulas of a step: its mean pass ratio and its accumulators (arithmetic.py). After buckets.lua.

-- The mean of P_g from passes by group size: sizes ascending, one division a size, one at the end.
local function mean_pass_ratio(groups, passes_by_size)
  if groups == 0 then return nil end
  local sizes, total = {}, 0
  for size in pairs(passes_by_size) do sizes[#sizes + 1] = size end
  table.sort(sizes)
  for _, size in ipairs(sizes) do total = total + passes_by_size[size] / size end
  return total / groups
end

-- An accumulator of the changes of revisited problems after a step; all values are whole numbers.
local function changes_after(kind, before, revisits)
  if kind == 'squared_weight' then return before - math.floor(31 * before / 256) + revisits[1] end
  local added = kind == 'revisits' and revisits[1] or kind == 'change' and revisits[2] or revisits[3]
  return before - math.floor(before / 16) + added
end

-- The accumulators after a step whose groups are these cells, and its mean P_g (nil where no group counts).
local function accumulators_after(run, buckets)
  local config, greatest = run.config, nil
  if config.step_level == 'last' then
    for _, c in pairs(buckets) do greatest = math.max(greatest or 0, c.generation) end
  end
  local groups, rollouts, correct, by_size = 0, 0, 0, {}
  for _, c in pairs(buckets) do
    if not greatest or c.generation == greatest then
      groups = groups + c.groups
      rollouts = rollouts + c.size * c.groups
      correct = correct + c.passes * c.groups
      by_size[c.size] = (by_size[c.size] or 0) + c.passes * c.groups
    end
  end
  local mean = mean_pass_ratio(groups, by_size)
  if not mean then return run.start, nil end
  local accuracy, after = correct / rollouts, {}
  for i, x in ipairs(run.start) do
    local a = i == 1 and config.level or config.extra[i - 1]
    if i == 1 and config.reference == 'dataset' then after[i] = x
    elseif a.kind == 'ema' then after[i] = a.weight * x + (1 - a.weight) * mean
    elseif a.kind == 'max' then after[i] = math.max(x, accuracy)
    elseif a.kind == 'integrator' then after[i] = math.max(0, x + a.weight * (accuracy - a.target))
    else after[i] = changes_after(a.kind, x, run.revisits) end
  end
  return after, mean
end
