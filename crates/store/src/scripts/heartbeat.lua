-- Says that a member lives, forgets those that did not say so for too long, and answers the time and who lives.
-- KEYS: members
-- ARGV: name ('' only looks), milliseconds that a heartbeat lasts
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
return {now, redis.call('ZRANGE', KEYS[1], 0, -1)}
