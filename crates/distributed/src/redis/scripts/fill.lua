-- Adds a page. ARGV: the filler, ms of silence allowed, a place left free, then the rows.
-- Returns 0 when the fill is not the filler's (any more).
if redis.call('GET', KEYS[4]) ~= ARGV[1] then
  return 0
end
take_rows(4)
redis.call('PEXPIRE', KEYS[4], ARGV[2])
return 1
