-- Marks messages as routed, those that are still kept.
-- KEYS: messages
for at = 1, #KEYS do
  if redis.call('EXISTS', KEYS[at]) == 1 then
    redis.call('HSET', KEYS[at], 'r', '')
    redis.call('HDEL', KEYS[at], 'c', 'q')
  end
end
return #KEYS
