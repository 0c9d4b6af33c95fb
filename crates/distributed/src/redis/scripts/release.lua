-- Gives a key back after a refusal, if this submission still holds it and no answer came meanwhile.
-- KEYS[1]: the key's record. ARGV[1]: the submission.
local record = redis.call('HMGET', KEYS[1], 'by', 'body')
if record[1] == ARGV[1] and not record[2] then return redis.call('DEL', KEYS[1]) end
return 0
