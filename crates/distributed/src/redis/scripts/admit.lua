-- The user's part of an admission: the idempotency key, then the user's rate, then the reservation.
-- KEYS: the user's bucket, the key's record (one slot).
-- ARGV: interval and period in microseconds (0: not counted), content hash and submission of the claim ('' : none),
-- milliseconds that a reservation lives.
-- Answers {ahead in microseconds or -1 when not asked, state 0 free 1 in flight 2 answered, content hash, body}.
if ARGV[3] ~= '' then
  local record = redis.call('HMGET', KEYS[2], 'hash', 'body', 'by')
  -- A call that was sent again after its connection broke finds its own reservation.
  if record[1] and record[3] ~= ARGV[4] then
    if record[2] then return {-1, 2, record[1], record[2]} end
    return {-1, 1, record[1], ''}
  end
end
local before = -1
local interval, period = tonumber(ARGV[1]), tonumber(ARGV[2])
if period > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
  if arrival < now then arrival = now end
  before = arrival - now
  local ahead = before + interval
  if ahead > period then return {before, 0, '', ''} end
  redis.call('SET', KEYS[1], string.format('%.0f', arrival + interval), 'PX', math.ceil(ahead / 1000))
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], 'hash', ARGV[3], 'by', ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {before, 0, '', ''}
