-- Takes a name for an id, unless another one has it.
-- KEYS: names
-- ARGV: name, id
-- Answers: whose it is.
local owner = redis.call('HGET', KEYS[1], ARGV[1])
if owner and owner ~= ARGV[2] then return owner end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
