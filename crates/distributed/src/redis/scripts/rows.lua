-- What the scripts of the rank index share. KEYS: 1 scores, 2 members, 3 version, 4 fill.
--
-- A line of :members is "<version>:<score>:<updated_at>", with an empty score for a tombstone, which stays so that an
-- older row that arrives later cannot bring the user back. Versions and scores are below 2^53: exact as Lua numbers.

-- Keeps unpack far below Lua's limit of about 8,000 values.
local CHUNK = 1000

-- Equal scores are listed by member, descending: the lower version must have the larger text.
local function member_of(version, user)
  local high = math.floor(version / 4294967296)
  local low = version % 4294967296
  return string.format('%08x%08x:%s', 4294967295 - high, 4294967295 - low, user)
end

local function read_line(line)
  local version, score = string.match(line, '^(%d+):(-?%d*):')
  return tonumber(version), score
end

local function read_state(state)
  local epoch, version = string.match(state, '^(.-)%.(%d+)$')
  return epoch, tonumber(version)
end

-- Takes over those rows of ARGV, from `first` on in fours (user, version, score, updated_at), that are newer than
-- what is held. Returns the member of every row's user as it is held afterwards, '' for none.
local function take_rows(first)
  local after, total = {}, 0
  for chunk = first, #ARGV, 4 * CHUNK do
    local last = math.min(chunk + 4 * CHUNK - 1, #ARGV)
    local users = {}
    for i = chunk, last, 4 do users[#users + 1] = ARGV[i] end
    local held = redis.call('HMGET', KEYS[2], unpack(users))
    local placed, gone, lines, changed = {}, {}, {}, {}
    for n, user in ipairs(users) do
      local i = chunk + 4 * (n - 1)
      local version, score = tonumber(ARGV[i + 1]), ARGV[i + 2]
      local line = changed[user] or held[n]
      local member, held_version, held_score = '', -1, ''
      if line then held_version, held_score = read_line(line) end
      if held_score ~= '' then member = member_of(held_version, user) end
      if held_version < version then
        if member ~= '' then
          gone[#gone + 1] = member
          member = ''
        end
        if score ~= '' then
          member = member_of(version, user)
          placed[#placed + 1] = score
          placed[#placed + 1] = member
        end
        line = ARGV[i + 1] .. ':' .. score .. ':' .. ARGV[i + 3]
        changed[user] = line
        lines[#lines + 1] = user
        lines[#lines + 1] = line
      end
      total = total + 1
      after[total] = member
    end
    -- Placed before removed: a user that comes twice leaves the first place again.
    if #placed > 0 then redis.call('ZADD', KEYS[1], unpack(placed)) end
    if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
    if #lines > 0 then redis.call('HSET', KEYS[2], unpack(lines)) end
  end
  return after
end

-- Each member's user and line, one after the other.
local function lines_of(members)
  local found = {}
  for chunk = 1, #members, CHUNK do
    local users = {}
    for i = chunk, math.min(chunk + CHUNK - 1, #members) do users[#users + 1] = string.sub(members[i], 18) end
    local lines = redis.call('HMGET', KEYS[2], unpack(users))
    for n, user in ipairs(users) do
      found[#found + 1] = user
      found[#found + 1] = lines[n] or ''
    end
  end
  return found
end
