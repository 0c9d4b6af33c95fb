-- How many have a score. Returns nothing while there is no version; else the state and the number.
local state = redis.call('GET', KEYS[3])
if not state then
  return false
end
return {state, redis.call('ZCARD', KEYS[1])}
