-- A user's place. ARGV: the user, how many on each side. Returns nothing while there is no version; else the state,
-- the user's rank (0: no score; -1: a score that is not in the order), the rank of the first line, and each user with its line.
local state = redis.call('GET', KEYS[3])
if not state then
  return false
end
local line = redis.call('HGET', KEYS[2], ARGV[1])
local version, score = 0, ''
if line then version, score = read_line(line) end
if score == '' then
  return {state, 0, 0, {}}
end
local rank = redis.call('ZREVRANK', KEYS[1], member_of(version, ARGV[1]))
if not rank then
  return {state, -1, 0, {}}
end
local around = tonumber(ARGV[2])
local first = math.max(0, rank - around)
return {state, rank + 1, first + 1, lines_of(redis.call('ZREVRANGE', KEYS[1], first, rank + around))}
