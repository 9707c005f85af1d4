/** What Redis does with questions and answers (questions.ts). Times are in milliseconds, by its clock. */
const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function till(ms) return string.format('%d', now + ms) end
`
/**
 * KEYS: the questions, who has looked. ARGV: the name of who looks, for how long that is remembered in ms, how many names, how many
 * questions, their longest. Returns open questions.
 */
export const LOOK = `${NOW}
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then
  redis.call('ZREM', KEYS[2], redis.call('ZRANGE', KEYS[2], 0, 0)[1])
end
redis.call('ZADD', KEYS[2], till(0), ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local open = {}
for _, question in ipairs(redis.call('ZRANGE', KEYS[1], till(0), '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  if #question <= tonumber(ARGV[5]) then open[#open + 1] = question end
end
return open
`
/**
 * KEYS: as LOOK. ARGV: the question, for how long it is open in ms, how many may be, for how long who has looked is remembered, how many
 * names to return, their longest. Returns 0 where too many are open; else the names of who has looked, each with how long ago that was.
 */
export const ASK = `${NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', till(0))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. till(ARGV[2]), '+inf')
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], till(ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', till(-ARGV[4]))
local seen = {}
local found = redis.call('ZRANGE', KEYS[2], '+inf', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[5], 'WITHSCORES')
for i = 1, #found, 2 do
  if #found[i] <= tonumber(ARGV[6]) then
    seen[#seen + 1] = found[i]
    seen[#seen + 1] = string.format('%d', math.max(0, now - found[i + 1]))
  end
end
return seen
`
/** KEYS: the nodes, as nodes.ts has them. ARGV: how many to return, their longest. Returns the names of those that are alive. */
export const ALIVE = `${NOW}
local names = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], till(0), '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  local name = string.match(member, '^(.-) ')
  if name and #name <= tonumber(ARGV[2]) then names[#names + 1] = name end
end
return names
`
/** KEYS: the answers. ARGV: who answers, the answer, for how long it is kept in ms, how many answers there may be. */
export const ANSWER = `
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`
/** KEYS: the answers. ARGV: their longest, then names. Returns the answer of each: '' where there is none yet, '-' where it is too long. */
export const ANSWERS = `
local told = {}
for i = 2, #ARGV do
  local answer = redis.call('HMGET', KEYS[1], ARGV[i])[1] or ''
  told[#told + 1] = #answer > tonumber(ARGV[1]) and '-' or answer
end
return told
`
/** KEYS: the answers, the questions. ARGV: the question. */
export const DONE = `
redis.call('DEL', KEYS[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
`
