-- The players at some positions. ARGV: the positions, 1 for the best. Returns nothing while there is no version; else the
-- state, how many have a score, and each user with its line for those positions that somebody holds.
local state = redis.call('GET', KEYS[3])
if not state then
  return false
end
local players = redis.call('ZCARD', KEYS[1])
local members = {}
for i = 1, #ARGV do
  local rank = tonumber(ARGV[i])
  if rank >= 1 and rank <= players then
    members[#members + 1] = redis.call('ZREVRANGE', KEYS[1], rank - 1, rank - 1)[1]
  end
end
return {state, players, lines_of(members)}
