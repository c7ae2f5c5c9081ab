-- Records attempts and states of deliveries of one app. Recording the same attempt twice is recording it once.
-- KEYS: unfinished deliveries
-- ARGV: prefix of the app's keys, seconds, attempts kept per endpoint, then nine for each record:
--       message, endpoint, series, attempt or '', letter of the status, due or '', attempt's JSON or '',
--       when the message was published, event type (a state alone says nothing of a message that is not kept)
-- Answers: for each record 1 when it was new, 0 when it was known, 2 when another attempt of its number was.
-- The grammar of the state is described in wire's record/delivery.rs.
local prefix, seconds, kept = ARGV[1], ARGV[2], ARGV[3]
local digits = '0123456789abcdefghijklmnopqrstuvwxyz'

local function base36(number)
  if number < 0 then return '-' .. base36(-number) end
  local text = ''
  repeat
    local digit = number % 36
    text = string.sub(digits, digit + 1, digit + 1) .. text
    number = (number - digit) / 36
  until number == 0
  return text
end

local function unbase36(text)
  if string.sub(text, 1, 1) == '-' then return -tonumber(string.sub(text, 2), 36) end
  return tonumber(text, 36)
end

local function holds(history, published, tail, attempt)
  for offset, sequence in string.gmatch(tail, '([^,.]+)%.?([^,]*)') do
    local ms = string.format('%.0f', published + unbase36(offset))
    local id = ms .. '-' .. string.format('%.0f', sequence == '' and 0 or tonumber(sequence, 36))
    local entry = redis.call('XRANGE', history, id, id)[1]
    if entry and string.find(entry[2][2], attempt, 1, true) then return true end
  end
  return false
end

local answers = {}
for at = 4, #ARGV, 9 do
  local message, endpoint, series, number = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]) or 0
  local letter, due, json = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local key, history = prefix .. 'm:' .. message, prefix .. 'a:' .. endpoint
  local held = redis.call('HMGET', key, endpoint, 'at')
  local missing = not held[2]
  if missing and json ~= '' then
    held[2] = ARGV[at + 7]
    redis.call('HSET', key, 't', ARGV[at + 8], 'at', held[2])
    redis.call('EXPIRE', key, seconds)
  end
  local head, tail = '', ''
  local held_status, held_number, held_series, held_series_text, paused = '', 0, 0, '0', ''
  if held[1] and string.sub(held[1], 1, 1) ~= '-' then
    head = held[1]
    local bar = string.find(head, '|', 1, true)
    if bar then head, tail = string.sub(head, 1, bar - 1), string.sub(head, bar + 1) end
    held_status = string.sub(head, 1, 1)
    held_number = tonumber(string.match(head, '^%a(%d+)')) or 0
    held_series_text = string.match(head, 's(%d+)') or '0'
    held_series = tonumber(held_series_text)
    if string.find(head, 'b', 1, true) then paused = 'b' end
  end
  local run = tonumber(series)
  local new, moves, anothers = true, true, false
  if json == '' and missing then
    new = false
  elseif json ~= '' then
    if run == held_series and number <= held_number then
      new = false
      anothers = not holds(history, tonumber(held[2]), tail, string.match(json, '"i":"[^"]*"'))
    elseif run < held_series then
      moves = false
      new = not holds(history, tonumber(held[2]), tail, string.match(json, '"i":"[^"]*"'))
    elseif run == held_series and held_status == 'd' then
      letter, due = 'd', ''
    end
  elseif run < held_series then
    new = false
  elseif run == held_series then
    new = not (held_status == 'd' or held_status == 'x' or held_status == 'o' or held_status == 'g' or held_status == 'u')
    number = math.max(number, held_number)
  end
  if new then
    if moves then
      head = letter
      if number > 0 then head = head .. string.format('%d', number) end
      head = head .. paused
      if run > 0 then head = head .. 's' .. series end
      if letter == 'r' then head = head .. '@' .. due end
      if letter == 'r' or letter == 'p' then
        redis.call('ZADD', KEYS[1], due, message .. ':' .. endpoint)
      else
        redis.call('ZREM', KEYS[1], message .. ':' .. endpoint)
      end
    end
    if json ~= '' then
      local added = redis.call('XADD', history, 'MAXLEN', '~', kept, '*', 'j', json)
      local ms, sequence = string.match(added, '^(%d+)-(%d+)$')
      local position = base36(tonumber(ms) - tonumber(held[2]))
      if sequence ~= '0' then position = position .. '.' .. base36(tonumber(sequence)) end
      tail = tail == '' and position or tail .. ',' .. position
    end
    redis.call('HSET', key, endpoint, tail == '' and head or head .. '|' .. tail)
  end
  answers[#answers + 1] = new and 1 or anothers and 2 or 0
end
return answers
