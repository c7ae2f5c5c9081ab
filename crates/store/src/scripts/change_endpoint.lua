-- Creates, changes or deletes an endpoint with its uid and its secrets, if nobody else changed it.
-- KEYS: app, endpoints, endpoint uids, secrets, version, failing endpoints
-- ARGV: 1 endpoint, 2 record as it was read ('' when there must be none), 3 new record ('' deletes), 4 uid as it was read,
--       5 new uid, 6 new secrets ('' leaves them), 7 secrets as they were read ('' does not look), 8 endpoints at most
-- Answers: {'V', version}, {'X'} changed by others, {'U', id} uid taken, {'M', count} too many, {'A'} no such app.
if redis.call('EXISTS', KEYS[1]) == 0 then return {'A'} end
local held = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if held ~= ARGV[2] then
  -- The same creation again: its first answer was lost.
  if ARGV[2] == '' and held == ARGV[3] then return {'V', redis.call('GET', KEYS[5])} end
  return {'X'}
end
if ARGV[7] ~= '' and (redis.call('HGET', KEYS[4], ARGV[1]) or '') ~= ARGV[7] then return {'X'} end
if ARGV[5] ~= '' and ARGV[5] ~= ARGV[4] then
  local owner = redis.call('HGET', KEYS[3], ARGV[5])
  if owner and owner ~= ARGV[1] then return {'U', owner} end
end
if ARGV[2] == '' then
  local count = redis.call('HLEN', KEYS[2])
  if count >= tonumber(ARGV[8]) then return {'M', count} end
end
if ARGV[4] ~= '' and ARGV[4] ~= ARGV[5] then redis.call('HDEL', KEYS[3], ARGV[4]) end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[4], ARGV[1])
  redis.call('HDEL', KEYS[6], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], ARGV[5], ARGV[1]) end
  if ARGV[6] ~= '' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[6]) end
end
return {'V', redis.call('INCR', KEYS[5])}
