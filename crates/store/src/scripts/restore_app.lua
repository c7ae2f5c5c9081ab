-- Puts an app with its endpoints back into a store that was emptied, unless it is there.
-- KEYS: app, version, endpoints, endpoint uids, secrets
-- ARGV: record, version, then for each endpoint: id, record, uid or '', sealed secrets or ''
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for at = 3, #ARGV, 4 do
  redis.call('HSETNX', KEYS[3], ARGV[at], ARGV[at + 1])
  if ARGV[at + 2] ~= '' then redis.call('HSETNX', KEYS[4], ARGV[at + 2], ARGV[at]) end
  if ARGV[at + 3] ~= '' then redis.call('HSETNX', KEYS[5], ARGV[at], ARGV[at + 3]) end
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1])
return 1
