/**
 * What Redis does with the history of clients, and the form in which it keeps it.
 *
 * A group is two keys of one slot: a hash with a field for each client, and a sorted set of the same clients by the number of
 * their last change. The field `#` of the hash has the number of the latest change, and `@` a name that whoever wrote first
 * made up: a group with another name is another group, which has lost what was in the first. A value is six numbers (past-text.ts),
 * or seven of a domain; domains are a group of their own.
 * The rule by which TELL adds to them is that of past.ts.
 *
 * A third key is of one node: the number of the last batch that it has told to the group.
 */
import { isNetKey } from './neighbourhoods.ts'
import type { Past } from './past.ts'
import { isKey, pastIn } from './past-text.ts'

/** What is said of a client that is not six numbers, or seven, is nothing: it is written anew. */
const READ = `
local function read(value)
  local n = {}
  for word in string.gmatch(value or '', '%S+') do n[#n + 1] = tonumber(word) end
  if #n ~= 6 and #n ~= 7 then return nil end
  for i = 1, #n do if n[i] ~= n[i] or n[i] < 0 or n[i] > 1e9 then return nil end end
  return n
end
`
/** Numbers the change. ARGV: expiry in ms, the name of the group if it has none. */
const CHANGE = `
local seq = (tonumber(redis.call('HMGET', KEYS[1], '#')[1]) or 0) + 1
local function changed(field, value)
  redis.call('HSET', KEYS[1], field, value)
  redis.call('ZADD', KEYS[2], seq, field)
end
local function finish()
  redis.call('HSET', KEYS[1], '#', seq)
  if seq == 1 then redis.call('HSET', KEYS[1], '@', ARGV[2]) end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
local function drop(field)
  redis.call('HDEL', KEYS[1], field)
  redis.call('ZREM', KEYS[2], field)
end
`
/**
 * ARGV: as CHANGE, then the number of the batch, the hour, the most clients of a group, the memory (OWN_MEMORY), KNOWN_AFTER,
 * and for each client its field, good and bad messages, the hours of the first and of the last of them, and
 * how many were not good after all, and the networks of a domain, or -1. A batch that has
 * arrived before changes nothing. First the clients that changed longest ago are forgotten if they have expired. If the group is
 * full, some strangers (of ten taken at random, those with fewer good messages than KNOWN_AFTER) make room; if there are none,
 * nobody new is remembered.
 */
export const TELL = `${READ}${CHANGE}
if tonumber(ARGV[3]) <= (tonumber(redis.call('HMGET', KEYS[3], '#')[1]) or 0) then return seq end
local hour, most, memory, after = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
for _, field in ipairs(redis.call('ZRANGE', KEYS[2], 0, 9)) do
  local n = read(redis.call('HMGET', KEYS[1], field)[1])
  if not n or hour - math.max(n[5], n[6]) >= ARGV[1] / 3600000 then drop(field) end
end
if redis.call('HLEN', KEYS[1]) > most + 1 then
  for _, field in ipairs(redis.call('HRANDFIELD', KEYS[1], 10)) do
    local n = read(redis.call('HMGET', KEYS[1], field)[1])
    if field ~= '#' and field ~= '@' and (not n or n[1] < after) then drop(field) end
  end
end
local room = most + 2 - redis.call('HLEN', KEYS[1])
for i = 8, #ARGV, 7 do
  local field, good, bad = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local since, last, undone = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local nets = tonumber(ARGV[i + 6])
  local n = read(redis.call('HMGET', KEYS[1], field)[1])
  if n or room > 0 then
    if not n then
      n = {0, 0, 0, 0, 0, 0}
      room = room - 1
    end
    local hours = last - math.max(n[5], n[6])
    local rg = math.max(0, n[2] + good - undone)
    local rb = math.max(0, n[3] * 2 ^ (-math.max(0, hours) / 24) + bad * 2 ^ (-math.max(0, -hours) / 24))
    local kept = math.min(1, memory / (rg + rb))
    if good > 0 and (n[4] == 0 or n[4] > since) then n[4] = since end
    if good > 0 then n[5] = math.max(n[5], last) end
    if bad > 0 then n[6] = math.max(n[6], last) end
    local value = string.format('%d %.3f %.3f %d %d %d', n[1] + good, rg * kept, rb * kept, n[4], n[5], n[6])
    if nets >= 0 then value = value .. string.format(' %d', bit.bor(n[7] or 0, nets)) end
    changed(field, value)
  end
end
finish()
redis.call('HSET', KEYS[3], '#', ARGV[3])
redis.call('PEXPIRE', KEYS[3], 3600000)
return seq
`
/**
 * ARGV: as CHANGE, then the most clients of a group, then fields and values. Writes those of clients that are not there, or are
 * there with fewer good messages.
 */
export const FILL = `${READ}${CHANGE}
local room = tonumber(ARGV[3]) + 2 - redis.call('HLEN', KEYS[1])
for i = 4, #ARGV, 2 do
  local held = read(redis.call('HMGET', KEYS[1], ARGV[i])[1])
  if (not held and room > 0) or (held and held[1] < read(ARGV[i + 1])[1]) then
    changed(ARGV[i], ARGV[i + 1])
    if not held then room = room - 1 end
  end
end
finish()
return seq
`
/**
 * ARGV: the number of a change, how many clients. Returns the name of the group, the number of the latest change, and of the
 * clients that changed after the first, the earliest ones: for each its field, the number of its change and its value.
 */
export const NEWS = `
local held = redis.call('HMGET', KEYS[1], '@', '#')
local answer = {held[1] or '', held[2] or '0'}
local found = redis.call('ZRANGE', KEYS[2], '(' .. ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
for i = 1, #found, 2 do
  answer[#answer + 1] = found[i]
  answer[#answer + 1] = found[i + 1]
  answer[#answer + 1] = redis.call('HMGET', KEYS[1], found[i])[1] or ''
end
return answer
`

export interface Change {
  readonly key: string
  readonly seq: number
  /** Undefined if Redis holds something else under the key, or if it is none of a client or a domain. */
  readonly past: Past | undefined
}

export interface News {
  /** Empty if nobody has written to the group. */
  readonly group: string
  readonly seq: number
  readonly changes: readonly Change[]
}

/** What NEWS answered; undefined if it is nonsense. */
export function newsIn(answer: unknown): News | undefined {
  if (!Array.isArray(answer) || answer.length % 3 !== 2 || !answer.every((each) => typeof each === 'string'))
    return undefined
  const [group, latest, ...rest] = answer as [string, string, ...string[]]
  const seq = Number(latest)
  if (!Number.isSafeInteger(seq) || seq < 0) return undefined
  const changes: Change[] = []
  for (let i = 0; i < rest.length; i += 3) {
    const [key, at, value] = rest.slice(i, i + 3) as [string, string, string]
    const number = Number(at)
    if (!Number.isSafeInteger(number)) return undefined
    changes.push({ key, seq: number, past: isKey(key) && !isNetKey(key) ? pastIn(value) : undefined })
  }
  return { group, seq, changes }
}
