-- The identity of a run's state (engine.py): a check that the store has the state that the caller saw.
-- After commit_arguments.lua or sample_arguments.lua.

-- A refusal, or nil. `run` is nil for a run that does not exist.
local function check_identity(prefix, run, epoch)
  local incarnation, version = sent_incarnation, sent_version
  if incarnation ~= '' and not run then return {1, 'run-lost', incarnation} end
  if incarnation ~= '' and incarnation ~= run.incarnation then
    -- without one: state from before incarnations existed
    if run.incarnation == '' then return {1, 'run-rolled-back', 'version', integer(version or 0), '0'} end
    return {1, 'run-lost', incarnation}
  end
  if sent_epoch ~= '' and not run and tonumber(sent_epoch) >= epoch then return {1, 'run-lost', ''} end
  for _, believed in ipairs({sent_epoch, expected_epoch}) do
    if believed ~= '' and tonumber(believed) ~= epoch then
      if incarnation ~= '' and tonumber(believed) > epoch then
        return {1, 'run-rolled-back', 'epoch', believed, integer(epoch)}
      end
      return {1, 'epoch-mismatch', integer(epoch), believed}
    end
  end
  if not run then return lost_record(prefix) and {1, 'run-damaged', 'record'} or nil end
  if version and run.version < version then
    return {1, 'run-rolled-back', 'version', integer(version), integer(run.version)}
  end
  -- Keys that Redis evicted, or that somebody deleted.
  if call('HLEN', prefix .. 'p') ~= run.problems then return {1, 'run-damaged', 'problems'} end
  if run.open and run.kind == 'stepped' and call('EXISTS', prefix .. 'g:' .. integer(run.open)) == 0 then
    return {1, 'run-damaged', 'groups of the open step'}
  end
  return nil
end
