-- Begins a fill. ARGV: epoch, the truth's head, the filler, ms of silence after which another one may take over.
-- Returns the version to go on from; -1 when somebody else is filling.
local filler = redis.call('GET', KEYS[4])
if filler and filler ~= ARGV[3] then
  return -1
end
local from, keep = 0, false
local state = redis.call('GET', KEYS[3])
if state then
  local epoch, version = read_state(state)
  if epoch == ARGV[1] and version <= tonumber(ARGV[2]) then
    from, keep = version, true
  end
end
-- Without a version what is held is the rest of a fill that was given up: nobody knows what of it is true.
if not keep then
  redis.call('UNLINK', KEYS[1], KEYS[2])
end
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4])
return from
