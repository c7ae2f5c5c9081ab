-- Writes a field of a hash if nobody else changed it.
-- KEYS: hash
-- ARGV: field, value as it was read ('' when there must be none), new value
-- Answers: 1 when it was written (or was by this very call before).
local held = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if held == ARGV[3] then return 1 end
if held ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
