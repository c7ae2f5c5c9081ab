-- Writes a message that the API accepted under a request's own key, before it is published.
-- KEYS: request, message, payload, list of messages, [event id]
-- ARGV: id, prefix of the app's keys, payload (or '' when it is in the record), its seconds, seconds of the rest, length of the list, body hash,
--       hash of the request, its seconds, when it was accepted, fields and values of the record …
-- Answers: {'A'} written (or was by this very call before), {'R', id, when, hash} the request is known,
-- {'U', id} the event id is known with the same body but the broker may not have the message, {'T', id} it is taken.
local known = redis.call('GET', KEYS[1])
if known then
  local id, at, hash = string.match(known, '^(%S+) (%S+) (%S+)$')
  if id == ARGV[1] then return {'A'} end
  if id then return {'R', id, at, hash} end
end
local answer = {'A'}
if KEYS[5] then
  local owner = redis.call('GET', KEYS[5])
  if owner and owner ~= ARGV[1] then
    local held = redis.call('HMGET', ARGV[2] .. 'm:' .. owner, 'at', 'h', 'c', 'q')
    if held[1] then
      if held[2] ~= ARGV[7] or held[3] or held[4] then return {'T', owner} end
      answer = {'U', owner}
    end
  end
end
local id = answer[2] or ARGV[1]
redis.call('SET', KEYS[1], id .. ' ' .. ARGV[10] .. ' ' .. ARGV[8], 'EX', ARGV[9])
if answer[2] or redis.call('EXISTS', KEYS[2]) == 1 then return answer end
redis.call('HSET', KEYS[2], 'h', ARGV[7], unpack(ARGV, 11))
redis.call('EXPIRE', KEYS[2], ARGV[5])
if ARGV[3] ~= '' then redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[4]) end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], '*', 'm', ARGV[1])
redis.call('EXPIRE', KEYS[4], ARGV[5])
if KEYS[5] then redis.call('SET', KEYS[5], ARGV[1], 'EX', ARGV[5]) end
return answer
