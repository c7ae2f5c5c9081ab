-- Takes the next starts of an app that may be sent so many messages a second; all senders take from the same.
-- KEYS: microsecond of the next start that is free
-- ARGV: messages a second, how many starts are wanted
-- Answers how many microseconds from now the first of them is; the others follow it at the rate.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local between = 1000000 / tonumber(ARGV[1])
-- What was not used in time is not made up for, but for one: it may just have been late.
local first = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now - between)
local free = first + between * tonumber(ARGV[2])
redis.call('SET', KEYS[1], string.format('%.0f', free), 'PX', math.ceil(math.max(free - now, 0) / 1000) + 1000)
return math.floor(math.max(first - now, 0))
