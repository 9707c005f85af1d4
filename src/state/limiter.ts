/**
 * One limit, counted in Redis for all nodes; the home of rate-limiter-flexible.
 *
 * The library's own windows begin with the first hit and start from zero when they end, so that twice the limit can
 * pass around the end of a window. But its script can be replaced. Ours keeps the same sliding window of two buckets as
 * the tables in memory (table.ts): within an aligned window of Redis's clock no more than `max` is admitted, and within
 * any span of the same length less than twice `max`, or no more than `max` if arrivals are even. Refused attempts are
 * not added. All limiters must use the same script, because the library registers it with the connection under one
 * name: of two different scripts, the later one would run for both.
 *
 * A key is one hash with three fields: the number of the window, the count in it, and the count in the window before.
 * Only scripts with a single key touch it, as a cluster requires. It expires two windows after the last charge, so that
 * unused keys do not fill a Redis with `noeviction`.
 *
 * Redis's clock may go back: somebody sets it, or another server whose clock is behind takes over. A key that is one
 * window ahead is taken for the current one, so that a small step gives nothing away. A key that is further ahead
 * counts as nothing; otherwise it would keep everybody out for the length of the step.
 */
import { RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible'
import type { RedisClient } from './redis.ts'

/**
 * ARGV: amount, seconds (unused), max, window in seconds. Returns the use including the amount, and ms until there is
 * room.
 */
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
  /** The use in the whole cluster, including this charge. If it is over the maximum, the charge was refused. */
  readonly used: number
  /** For a refused charge: ms until there is room for it, if nobody else takes the room. */
  readonly waitMs: number
}

/** Both reject with the error of Redis or of the connection, or with Nonsense if the answer is not a count. */
export interface SharedCounter {
  /** Charges 1, unless that exceeds `max`, which is a whole number. */
  charge(key: string, max: number): Promise<Counted>
  /** Adds a whole number, without a maximum. A negative amount is taken back, at most down to 0. */
  add(key: string, amount: number): Promise<Counted>
}

export interface SharedCounterOptions {
  readonly client: RedisClient
  /** The prefix of all keys. */
  readonly prefix: string
  /** Part of the names of the counter's keys: `<prefix>l:<name>:<key>`. */
  readonly name: string
  /** A multiple of 1000: the library counts in seconds. */
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
    // `penalty` reads this and sends the command before it returns. We compare the answer with the maximum ourselves.
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
    // JSON escapes control characters.
    super(`Redis answered what is no count: ${String(JSON.stringify(answer)).slice(0, 60)}`)
  }
}

/** Whether it is a whole number between 0 and `most`. */
export const isCount = (value: unknown, most = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most

type Command = (args: string[]) => Promise<unknown>

/**
 * The client as the library sees it. The library turns any answer into a number (OK into NaN, 1.5 into 1), and clients
 * would be refused because of it. So each answer is checked before the library gets it.
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
