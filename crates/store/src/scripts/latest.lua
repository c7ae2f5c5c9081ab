-- The latest message about something that was routed to an endpoint, and how its delivery stands.
-- KEYS: latest messages of the endpoint
-- ARGV: what it is about, prefix of the app's keys, endpoint
-- Answers: nothing, or the message and the text of its delivery, empty when the message is forgotten.
local message = redis.call('HGET', KEYS[1], ARGV[1])
if not message then return {} end
return {message, redis.call('HGET', ARGV[2] .. 'm:' .. message, ARGV[3]) or ''}
