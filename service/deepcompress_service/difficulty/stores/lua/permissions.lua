-- Which commands the user of this connection may not run.
--
-- ARGV  for each command the number of its words, then the words
--
-- Returns the positions of the forbidden ones, from 1; none on a server without acl_check_cmd.

local forbidden, at, position = {}, 1, 0
if not redis.acl_check_cmd then return forbidden end
while at <= #ARGV do
  position = position + 1
  local last = at + tonumber(ARGV[at])
  -- It raises an error for a command that does not exist, such as a renamed one.
  local known, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, last))
  if not (known and allowed) then forbidden[#forbidden + 1] = position end
  at = last + 1
end
return forbidden
