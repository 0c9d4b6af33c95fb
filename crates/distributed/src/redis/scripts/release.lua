-- Gives a key back after a refusal, if this submission still holds it and no answer came meanwhile, and an update of the
-- user's limit that was counted for nothing.
-- KEYS: the user's bucket, the key's record (one slot).
-- ARGV: the submission ('': no key), microseconds of the bucket to give back (0: none).
if ARGV[1] ~= '' then
  local record = redis.call('HMGET', KEYS[2], 'by', 'body')
  if record[1] == ARGV[1] and not record[2] then redis.call('DEL', KEYS[2]) end
end
local back = tonumber(ARGV[2])
local arrival = redis.call('GET', KEYS[1])
if back > 0 and arrival then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local ahead = tonumber(arrival) - back - now
  if ahead <= 0 then return redis.call('DEL', KEYS[1]) end
  redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
end
return 0
