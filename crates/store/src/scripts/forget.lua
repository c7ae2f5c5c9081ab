-- Forgets a message that was accepted but never reached the broker.
-- KEYS: message, payload, [event id]
-- ARGV: id
local held = redis.call('HMGET', KEYS[1], 'c', 'q')
if held[1] or held[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
if KEYS[3] and redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return 1
