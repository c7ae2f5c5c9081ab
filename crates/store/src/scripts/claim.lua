-- Claims a message for one router, and writes all that is known of it.
-- KEYS: message, payload, list of messages, unfinished deliveries, version of the app, [event id]
-- ARGV: 1 id, 2 prefix of the app's keys, 3 payload, 4 its seconds, 5 seconds of the rest, 6 length of the list,
--       7 body hash, 8 token, 9 '1' when redelivered, 10 version the routes were made from, 11 when deliveries are due,
--       12 '1' when the fan-out is done already, 13 how many of the rest belong to the record,
--       fields and values of the record …, endpoints and texts …
-- Answers: {'N'} new, {'A', id} again, {'D', id} duplicate, {'C', id} conflict, {'S', version} stale.
local id, prefix, done = ARGV[1], ARGV[2], ARGV[12] == '1'
local known
if KEYS[6] then
  local owner = redis.call('GET', KEYS[6])
  if owner then
    local held = redis.call('HMGET', prefix .. 'm:' .. owner, 'at', 'h', 'c', 'r')
    if held[1] then known = held id = owner end
  end
end
if not known then
  local held = redis.call('HMGET', KEYS[1], 'at', 'h', 'c', 'r')
  if held[1] then known = held end
end
local answer = {'N'}
if known then
  if known[2] and known[2] ~= ARGV[7] then return {'C', id} end
  if known[4] then return {'D', id} end
  if known[3] and not done then
    if known[3] ~= ARGV[8] and ARGV[9] ~= '1' then return {'D', id} end
    answer = {'A', id}
  elseif id ~= ARGV[1] then
    answer = {'A', id}
  end
end
if not done then
  local version = redis.call('GET', KEYS[5]) or '0'
  if version ~= ARGV[10] then return {'S', version} end
end
local message = prefix .. 'm:' .. id
local rest = 14 + tonumber(ARGV[13])
local mark, value = 'c', ARGV[8]
if done then mark, value = 'r', '' end
local fresh = not (known and known[2])
if fresh then
  redis.call('HSET', message, 'h', ARGV[7], mark, value, unpack(ARGV, 14, rest - 1))
  redis.call('EXPIRE', message, ARGV[5])
  redis.call('SET', prefix .. 'p:' .. id, ARGV[3], 'EX', ARGV[4])
  local added = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'm', id)
  redis.call('EXPIRE', KEYS[3], ARGV[5])
  local ms = string.match(added, '^%d+')
  if string.sub(ms, -2) == '00' then
    redis.call('XTRIM', KEYS[3], 'MINID', '~', string.format('%.0f', tonumber(ms) - tonumber(ARGV[5]) * 1000))
  end
  if KEYS[6] then redis.call('SET', KEYS[6], id, 'EX', ARGV[5]) end
else
  redis.call('HSET', message, mark, value)
end
if done then redis.call('HDEL', message, 'c', 'q') end
for at = rest, #ARGV, 2 do
  local endpoint, text = ARGV[at], ARGV[at + 1]
  local held = known and redis.call('HGET', message, endpoint)
  if not held or (string.sub(held, 1, 1) == '-' and held ~= text) then
    redis.call('HSET', message, endpoint, text)
    if string.sub(text, 1, 1) == 'p' then
      redis.call('ZADD', KEYS[4], ARGV[11], id .. ':' .. endpoint)
    end
  end
end
return answer
