/**
 * One limit counted in Redis for all nodes; the home of rate-limiter-flexible.
 *
 * Its own windows begin with the first hit and start again from nothing when they end, so that twice the limit passes
 * within a moment around the end of one. It lets its script be replaced, though, and ours keeps the same sliding window of
 * two buckets as the tables in memory do (table.ts): in an aligned window of Redis's clock never more than `max` is let
 * in, in any span as long as a window less than twice `max`, and no more than `max` where arrivals are even. What is
 * refused is not added. There is one text for all limiters, because the library registers the script with the connection, under
 * one name: of two different ones the later would be run for both.
 *
 * A key is one hash with three fields (number of the window, count in it, count in the one before), touched by single-key
 * scripts only, as a cluster demands, and it expires two windows after it was last charged: a Redis with `noeviction` is
 * not filled by keys that nobody asks for.
 *
 * The clock of Redis may go back: it is set, or another server whose clock is behind takes over. A key that is one window
 * ahead is taken for the current one, so that a small step gives nothing away; what is further ahead than that counts as
 * nothing, or it would keep everybody out for as long as the step.
 */
import { RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible'
import type { RedisClient } from './redis.ts'

/** ARGV: points, seconds (not used), max, window in seconds. Returns what is used then, and ms until there is room again. */
const SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local amount, max, span = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[4] * 1000
local window = math.floor(now / span)
local left = span - (now - window * span)
local held = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
local current, previous = 0, 0
if held[1] then
  local passed = window - held[1]
  if passed == 0 or passed == -1 then current, previous = tonumber(held[2]), tonumber(held[3])
  elseif passed == 1 then previous = tonumber(held[2]) end
end
local used = current + previous * left / span
if used + amount > max then
  local wait
  if current + amount <= max then wait = left - (max - current - amount) * span / previous
  elseif amount <= max then wait = left + span - (max - amount) * span / current
  else wait = left + span end
  return {math.ceil(used + amount), math.max(1, math.ceil(wait))}
end
current = current + amount
if current < 0 then
  previous = math.max(0, previous + current)
  current = 0
end
if current == 0 and previous == 0 then redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'w', window, 'c', current, 'p', previous)
  redis.call('PEXPIRE', KEYS[1], left + span)
end
return {math.max(0, math.ceil(used + amount)), 0}
`

export interface Counted {
  /** In use in the whole cluster, this charge included; over the maximum: it was refused, and nothing was charged. */
  readonly used: number
  /** Of a refused charge: after how many ms there is room for it, if nobody else takes it. */
  readonly waitMs: number
}

/** Both reject with what Redis or the connection to it says, and with Nonsense where that is no count. */
export interface SharedCounter {
  /** Charges 1, unless that is over `max`, a whole number. */
  charge(key: string, max: number): Promise<Counted>
  /** Adds whatever it comes to (a whole number; below 0: takes back, at most down to nothing). */
  add(key: string, amount: number): Promise<Counted>
}

export interface SharedCounterOptions {
  readonly client: RedisClient
  /** Of all keys. */
  readonly prefix: string
  /** What keys of this limit are called by: `<prefix>l:<name>:<key>`. */
  readonly name: string
  /** Whole seconds. */
  readonly windowMs: number
}

export function createSharedCounter({ client, prefix, name, windowMs }: SharedCounterOptions): SharedCounter {
  const limiter = new RateLimiterRedis({
    storeClient: checking(client, windowMs),
    keyPrefix: `${prefix}l:${name}`,
    points: 1,
    duration: windowMs / 1000,
    customIncrTtlLuaScript: SCRIPT,
    rejectIfRedisNotReady: true,
  })
  const add = async (key: string, amount: number, max: number): Promise<Counted> => {
    // Read while `penalty` runs, which sends the command before it returns; whether the answer is over it, we see ourselves.
    limiter.points = max
    const { consumedPoints, msBeforeNext }: RateLimiterRes = await limiter.penalty(key, amount)
    return { used: consumedPoints, waitMs: msBeforeNext }
  }
  return {
    charge: (key, max) => add(key, 1, max),
    add: (key, amount) => add(key, amount, Number.MAX_SAFE_INTEGER),
  }
}

/** An answer that our scripts never give. */
export class Nonsense extends Error {
  override readonly name = 'Nonsense'

  constructor(answer: unknown) {
    // JSON escapes what a terminal would obey.
    super(`Redis answered what is no count: ${String(JSON.stringify(answer)).slice(0, 60)}`)
  }
}

/** Whether it is a whole number between 0 and `most`. */
export const isCount = (value: unknown, most = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most

type Command = (args: string[]) => Promise<unknown>

/**
 * What the library sees of the client. It would make a number of whatever is answered (NaN of OK, 1 of 1.5), and a client
 * would be refused for that, so the answers are looked at before.
 */
function checking(client: RedisClient, windowMs: number): object {
  const commands: { [name: string]: Command } = {}
  return Object.defineProperties(commands, {
    status: { get: () => client.status },
    defineCommand: {
      value(name: string, definition: { numberOfKeys: number; lua: string }) {
        client.defineCommand(name, definition)
        const send = (client as unknown as Record<string, Command>)[name] as Command
        commands[name] = async (args) => {
          const answer = await send.call(client, args)
          const isRight = Array.isArray(answer) && answer.length === 2
          if (!isRight || !isCount(answer[0]) || !isCount(answer[1], 2 * windowMs)) throw new Nonsense(answer)
          return answer
        }
      },
    },
  })
}
