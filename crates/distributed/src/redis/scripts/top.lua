-- The best. ARGV: how many. Returns nothing while there is no version; else the state, and each user with its line.
local state = redis.call('GET', KEYS[3])
if not state then
  return false
end
local limit = tonumber(ARGV[1])
local members = limit > 0 and redis.call('ZREVRANGE', KEYS[1], 0, limit - 1) or {}
return {state, lines_of(members)}
