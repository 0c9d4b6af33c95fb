-- GCRA, one request. KEYS[1]: the bucket. ARGV: microseconds that one request takes up, the period in microseconds.
-- Answers how far ahead of now the bucket's theoretical arrival time was, in microseconds; the caller works out the
-- allowance from it by common::rate_limit::decide, which this script must agree with.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
if arrival < now then arrival = now end
local ahead = arrival + interval - now
if ahead <= period then
  redis.call('SET', KEYS[1], string.format('%.0f', arrival + interval), 'PX', math.ceil(ahead / 1000))
end
return arrival - now
