-- Writes a message that the API accepted, before it is published.
-- KEYS: message, payload, list of messages, [event id]
-- ARGV: id, prefix of the app's keys, payload (or '' when it is in the record), its seconds, seconds of the rest, length of the list, body hash,
--       fields and values of the record …
-- Answers: {'A'} written (or was by this very call before), {'U', id} the event id is known with the same body but the
-- broker may not have the message, {'T', id} the event id is taken.
if KEYS[4] then
  local owner = redis.call('GET', KEYS[4])
  if owner and owner ~= ARGV[1] then
    local held = redis.call('HMGET', ARGV[2] .. 'm:' .. owner, 'at', 'h', 'c', 'q')
    if held[1] then
      if held[2] == ARGV[7] and not (held[3] or held[4]) then return {'U', owner} end
      return {'T', owner}
    end
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'A'} end
redis.call('HSET', KEYS[1], 'h', ARGV[7], unpack(ARGV, 8))
redis.call('EXPIRE', KEYS[1], ARGV[5])
if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'm', ARGV[1])
redis.call('EXPIRE', KEYS[3], ARGV[5])
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[1], 'EX', ARGV[5]) end
return {'A'}
