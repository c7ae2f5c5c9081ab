-- Marks messages as routed, those that are still kept.
-- KEYS: messages
for at = 1, #KEYS do
  -- One command where the claim is there, as it nearly always is.
  if redis.call('HSET', KEYS[at], 'c', '') == 1 then redis.call('HDEL', KEYS[at], 'c') end
end
return #KEYS
