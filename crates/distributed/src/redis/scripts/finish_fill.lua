-- Ends a fill. ARGV: the filler, the state that the index shows from now on.
-- Returns 0 when the fill is not the filler's (any more).
if redis.call('GET', KEYS[4]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[4])
return 1
