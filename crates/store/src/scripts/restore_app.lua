-- Puts an app with its endpoints back.
-- KEYS: app, version, endpoints, endpoint uids, secrets
-- ARGV: 1 how, 2 record, 3 version, then for each endpoint: id, record, uid or '', sealed secrets or ''
--   how: 'missing' leaves an app that is there as it is, 'merge' adds the endpoints that it lacks, 'overwrite' writes all
-- Answers: the new version, 0 when nothing was done; and 1 when the app's record is the one that was told.
local there = redis.call('EXISTS', KEYS[1]) == 1
local over = ARGV[1] == 'overwrite'
if there and ARGV[1] == 'missing' then return {0, redis.call('GET', KEYS[1]) == ARGV[2] and 1 or 0} end
for at = 4, #ARGV, 4 do
  local id, record, uid, sealed = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local held = redis.call('HGET', KEYS[3], id)
  local owner = uid ~= '' and redis.call('HGET', KEYS[4], uid)
  -- An endpoint that took the uid meanwhile keeps it.
  if (over or not held) and not (owner and owner ~= id and redis.call('HEXISTS', KEYS[3], owner) == 1) then
    if held then
      local read, old = pcall(cjson.decode, held)
      if read and type(old) == 'table' and old.uid and old.uid ~= uid then redis.call('HDEL', KEYS[4], old.uid) end
    end
    redis.call('HSET', KEYS[3], id, record)
    if uid ~= '' then redis.call('HSET', KEYS[4], uid, id) end
    if sealed ~= '' then redis.call('HSET', KEYS[5], id, sealed) end
  end
end
if over or not there then redis.call('SET', KEYS[1], ARGV[2]) end
local version = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3])) + 1
redis.call('SET', KEYS[2], version)
return {version, redis.call('GET', KEYS[1]) == ARGV[2] and 1 or 0}
