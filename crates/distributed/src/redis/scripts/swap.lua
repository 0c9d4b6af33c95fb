-- Puts a rebuilt index in the place of the live one. KEYS: scores, members, version, fill of the live one, then of the
-- rebuilt one. ARGV: how many versions the live index may fall back. Returns 1, or 0 and the state of the live index where
-- it is further ahead (bring the rebuilt one up to it), or -1 where the rebuilt one has no state.
local rebuilt = redis.call('GET', KEYS[7])
if not rebuilt then
  return {-1, ''}
end
local live = redis.call('GET', KEYS[3])
if live then
  local epoch, version = read_state(live)
  local new_epoch, new_version = read_state(rebuilt)
  if epoch == new_epoch and version > new_version + tonumber(ARGV[1]) then
    return {0, live}
  end
end
redis.call('UNLINK', KEYS[1], KEYS[2])
-- A board without players has neither.
if redis.call('EXISTS', KEYS[5]) == 1 then redis.call('RENAME', KEYS[5], KEYS[1]) end
if redis.call('EXISTS', KEYS[6]) == 1 then redis.call('RENAME', KEYS[6], KEYS[2]) end
redis.call('RENAME', KEYS[7], KEYS[3])
-- Somebody's fill of the old index is over: what it holds is no part of the new one.
redis.call('DEL', KEYS[4], KEYS[8])
return {1, ''}
