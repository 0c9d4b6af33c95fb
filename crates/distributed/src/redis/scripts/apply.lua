-- Takes a live change over. ARGV: epoch, from, to, then the rows.
-- Returns whether the index stands at `to` or further, where it stands if not, and the rank of each row's user
-- (0: no score; -1: a score that is not in the order, so the index is damaged).
local state = redis.call('GET', KEYS[3])
if not state then
  return {0, redis.call('EXISTS', KEYS[4]) == 1 and 'filling' or '', {}}
end
local epoch, version = read_state(state)
if epoch ~= ARGV[1] or version < tonumber(ARGV[2]) then
  return {0, state, {}}
end
local members = take_rows(4)
if version < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[3], epoch .. '.' .. ARGV[3])
end
local ranks = {}
for n, member in ipairs(members) do
  local rank = -1
  if member ~= '' then rank = redis.call('ZREVRANK', KEYS[1], member) or -2 end
  ranks[n] = rank + 1
end
return {1, '', ranks}
