-- Marks a message, if it is still kept.
-- KEYS: message
-- ARGV: name of the mark
-- Answers: 1 when it is kept.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] ~= 'q' or redis.call('HEXISTS', KEYS[1], 'c') == 0 then redis.call('HSET', KEYS[1], ARGV[1], '') end
return 1
