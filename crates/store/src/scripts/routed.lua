-- Marks messages as routed, those that are still kept.
-- KEYS: messages
for at = 1, #KEYS do
  if redis.call('HEXISTS', KEYS[at], 'c') == 1 then redis.call('HSET', KEYS[at], 'c', '') end
end
return #KEYS
