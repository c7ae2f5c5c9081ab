-- Keeps an endpoint's history in shape: remembers a URL, drops what is too old by the server's clock, renews the expiry.
-- KEYS: history, URLs
-- ARGV: key of the URL, URL, seconds that anything is kept
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local oldest = (tonumber(redis.call('TIME')[1]) - tonumber(ARGV[3])) * 1000
return redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', math.max(oldest, 0)))
