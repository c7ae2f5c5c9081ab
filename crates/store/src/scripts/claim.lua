-- Claims messages of one app for one router, and writes all that is known of them.
-- KEYS: list of messages, unfinished deliveries, version of the app
-- ARGV: prefix of the app's keys, seconds that anything is kept, length of the list, then for each message:
--       id, event id or '', payload or '', its seconds, body hash, token, flags, version that the routes were made from,
--       when its deliveries are due, what it is about or '', how many of the following are fields and values of the record, those, how many are
--       endpoints and texts, those.
--       Flags: 'r' delivered before by the broker, 'n' nobody can know the id, 'd' the fan-out is done already.
-- The claim is the field 'c': a token while a router has the message, '' once its fan-out is done.
-- Answers for each message: 'N' new, 'A' and id again, 'D' duplicate, 'C' conflict, 'S' and version stale.
local prefix, seconds, length = ARGV[1], ARGV[2], ARGV[3]
local version = redis.call('GET', KEYS[3]) or '0'
-- Keys of which the latest message is remembered per endpoint: with more, all are forgotten.
local latest_max = 100000

local function held(id)
  local fields = redis.call('HMGET', prefix .. 'm:' .. id, 'at', 'h', 'c')
  return fields[1] and fields
end

local function find(id, event)
  if event ~= '' then
    local owner = redis.call('GET', prefix .. 'uid:' .. event)
    local known = owner and held(owner)
    if known then return known, owner end
  end
  return held(id), id
end

-- Remembers the message as the latest about something. Not one whose deliveries may have begun before it is recorded: it
-- must not take the place of those that came in the meantime.
local function remember(id, about, endpoint)
  local key = prefix .. 'k:' .. endpoint
  if redis.call('HLEN', key) >= latest_max then redis.call('DEL', key) end
  redis.call('HSET', key, about, id)
  redis.call('EXPIRE', key, seconds)
end

-- `since` is the time of publication that is known already: attempts are found by their distance from it.
local function write(id, event, at, fields, routes, last, since)
  local payload, hash, token, done = ARGV[at + 2], ARGV[at + 4], ARGV[at + 5], string.find(ARGV[at + 6], 'd', 1, true)
  local key = prefix .. 'm:' .. id
  local record = {'HSET', key, 'h', hash, 'c', done and '' or token}
  for i = fields, fields + ARGV[at + 10] - 1 do record[#record + 1] = ARGV[i] end
  if since then
    record[#record + 1] = 'at'
    record[#record + 1] = since
  end
  local due = {'ZADD', KEYS[2]}
  for i = routes, last, 2 do
    record[#record + 1] = ARGV[i]
    record[#record + 1] = ARGV[i + 1]
    if string.sub(ARGV[i + 1], 1, 1) == 'p' then
      due[#due + 1] = ARGV[at + 8]
      due[#due + 1] = id .. ':' .. ARGV[i]
      if not done and ARGV[at + 9] ~= '' then remember(id, ARGV[at + 9], ARGV[i]) end
    end
    if #record > 2000 then
      redis.call(unpack(record))
      record = {'HSET', key}
    end
    if #due > 2000 then
      redis.call(unpack(due))
      due = {'ZADD', KEYS[2]}
    end
  end
  if #record > 2 then redis.call(unpack(record)) end
  if #due > 2 then redis.call(unpack(due)) end
  redis.call('EXPIRE', key, seconds)
  if payload ~= '' then redis.call('SET', prefix .. 'p:' .. id, payload, 'EX', ARGV[at + 3]) end
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', length, '*', 'm', id)
  if event ~= '' then redis.call('SET', prefix .. 'uid:' .. event, id, 'EX', seconds) end
end

-- The message is known: what it is known by stays, and endpoints that it was not routed to are added.
local function add(id, at, routes, last)
  local key = prefix .. 'm:' .. id
  redis.call('HSET', key, 'c', string.find(ARGV[at + 6], 'd', 1, true) and '' or ARGV[at + 5])
  for i = routes, last, 2 do
    local endpoint, text = ARGV[i], ARGV[i + 1]
    local now = redis.call('HGET', key, endpoint)
    if not now or (string.sub(now, 1, 1) == '-' and now ~= text) then
      redis.call('HSET', key, endpoint, text)
      if string.sub(text, 1, 1) == 'p' then redis.call('ZADD', KEYS[2], ARGV[at + 8], id .. ':' .. endpoint) end
    end
  end
end

local answers = {}
local at = 4
while at <= #ARGV do
  local id, event, flags = ARGV[at], ARGV[at + 1], ARGV[at + 6]
  local fields = at + 11
  local routes = fields + ARGV[at + 10] + 1
  local known, owner
  -- Even an id that nobody knows may have been written by this very call, if its answer was lost.
  if not string.find(flags, 'n', 1, true) or redis.call('EXISTS', prefix .. 'm:' .. id) == 1 then
    known, owner = find(id, event)
  end
  local done = string.find(flags, 'd', 1, true)
  local answer = {'N'}
  if known then
    if known[2] and known[2] ~= ARGV[at + 4] then
      answer = {'C'}
    elseif known[3] == '' then
      answer = {'D'}
    elseif known[3] and not done and known[3] ~= ARGV[at + 5] and not string.find(flags, 'r', 1, true) then
      answer = {'D'}
    elseif (known[3] and not done) or owner ~= id then
      answer = {'A', owner}
    end
  end
  if answer[1] == 'N' or answer[1] == 'A' then
    if not done and version ~= ARGV[at + 7] then
      answer = {'S', version}
    else
      local last = routes + ARGV[routes - 1] - 1
      if not known then
        write(id, event, at, fields, routes, last)
      else
        -- Known by an attempt alone, because the store lost the rest: the rest is written around it.
        if not known[2] then write(owner, event, at, fields, routes, routes - 1, known[1]) end
        add(owner, at, routes, last)
      end
    end
  end
  answers[#answers + 1] = answer
  at = routes + ARGV[routes - 1]
end
redis.call('EXPIRE', KEYS[1], seconds)
if #answers > 0 and math.random(64) == 1 then
  local oldest = (tonumber(redis.call('TIME')[1]) - tonumber(seconds)) * 1000
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', math.max(oldest, 0)))
end
return answers
