-- Pass-count buckets: groups of the open step that share generation, size and passes. After run_record.lua.

local function load_buckets(prefix, run)
  if run.buckets then return run.buckets end
  run.buckets = {}
  for key, value in pairs(pairs_of(prefix .. 't')) do
    local generation, size, passes = string.match(key, '^(%d+):(%d+):(%d+)$')
    local groups, truncated, tokens, tokens_count, correct, correct_count =
      string.match(value, '^(%d+),(%d+),(%d+),(%d+),(%d+),(%d+)$')
    run.buckets[key] = {generation = tonumber(generation), size = tonumber(size), passes = tonumber(passes),
                        groups = tonumber(groups), truncated = tonumber(truncated), tokens = tonumber(tokens),
                        tokens_count = tonumber(tokens_count), correct = tonumber(correct),
                        correct_count = tonumber(correct_count)}
  end
  return run.buckets
end

local function add_to_bucket(buckets, generation, size, passes, groups, truncated, tokens, tokens_count, correct,
                        correct_count)
  local key = string.format('%.0f:%.0f:%.0f', generation, size, passes)
  local bucket = buckets[key]
  if not bucket then
    bucket = {generation = generation, size = size, passes = passes, groups = 0, truncated = 0, tokens = 0,
            tokens_count = 0, correct = 0, correct_count = 0}
    buckets[key] = bucket
  end
  bucket.changed = true
  bucket.groups = bucket.groups + groups
  bucket.truncated = bucket.truncated + truncated
  bucket.tokens = bucket.tokens + tokens
  bucket.tokens_count = bucket.tokens_count + tokens_count
  bucket.correct = bucket.correct + correct
  bucket.correct_count = bucket.correct_count + correct_count
end

local function add_group(buckets, generation, g)
  if g.known then
    add_to_bucket(buckets, generation, g.size, g.passes, 1, g.truncated, g.tokens, g.size, g.correct, g.passes)
  else
    add_to_bucket(buckets, generation, g.size, g.passes, 1, g.truncated, 0, 0, 0, 0)
  end
end

local function save_buckets(prefix, buckets)
  local flat = {}
  for key, c in pairs(buckets) do
    if c.changed then
      flat[#flat + 1] = key
      flat[#flat + 1] = string.format('%.0f,%.0f,%.0f,%.0f,%.0f,%.0f', c.groups, c.truncated, c.tokens, c.tokens_count,
                                      c.correct, c.correct_count)
    end
  end
  put(prefix .. 't', flat)
end
