-- Begins a request that has a key of its own, or takes it over from whoever let go of it.
-- KEYS: the request
-- ARGV: 1 its print, 2 what the print of the request that is known must begin with, 3 who works on it, 4 draft,
--       5 milliseconds of the lease, 6 seconds that it is known
-- Answers: {'N'} new (or was by this very call before), {'G', draft} begun before by one that let go or is gone,
-- {'U'} under way, {'D', status, body} answered, {'X'} another request has the key.
local held = redis.call('HMGET', KEYS[1], 'h', 'd', 'o', 'u', 's', 'b')
local print, draft, owner, till, status, body = unpack(held, 1, 6)
if print and string.sub(print, 1, #ARGV[2]) ~= ARGV[2] then return {'X'} end
if status then return {'D', status, body} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if owner and owner ~= ARGV[3] and tonumber(till) > now then return {'U'} end
redis.call('HSET', KEYS[1], 'h', print or ARGV[1], 'd', draft or ARGV[4])
redis.call('HSET', KEYS[1], 'o', ARGV[3], 'u', string.format('%.0f', now + ARGV[5]))
redis.call('EXPIRE', KEYS[1], ARGV[6])
if draft and draft ~= ARGV[4] then return {'G', draft} end
return {'N'}
