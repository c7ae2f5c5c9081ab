-- Writes an app's record if nobody else changed it.
-- KEYS: app, version
-- ARGV: the record as it was read ('' when there must be none), the new record
-- Answers: the new version, or 0 when the record is another one.
local held = redis.call('GET', KEYS[1]) or ''
if held == ARGV[2] and ARGV[1] == '' then return tonumber(redis.call('GET', KEYS[2]) or '1') end
if held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return redis.call('INCR', KEYS[2])
