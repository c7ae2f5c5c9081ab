-- Holds on to a request that was begun, lets go of it, or forgets it; only for whoever works on it.
-- KEYS: the request
-- ARGV: who works on it, milliseconds of the lease from now on, 'free' to let go, or 'forget'
-- Answers: 1, or 0 when somebody else works on it.
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then return 0 end
if ARGV[2] == 'forget' then
  redis.call('DEL', KEYS[1])
elseif ARGV[2] == 'free' then
  redis.call('HDEL', KEYS[1], 'o', 'u')
else
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[1], 'u', string.format('%.0f', now + ARGV[2]))
end
return 1
