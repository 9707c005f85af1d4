/**
 * What all nodes have let in of one limit, in Redis; the home of rate-limiter-flexible.
 *
 * Redis decides nothing: nodes tell it amounts, and it answers with the count of all nodes. The library's own windows begin with
 * the first hit and start from zero when they end. But its script can be replaced. Ours keeps the same sliding window of two
 * buckets as the tables in memory (table.ts), by the clock of Redis. All limiters must use the same script, because the library
 * registers it with the connection under one name: of two different scripts, the later one would run for both.
 *
 * A key is one hash: the number of the window (w), the count in it (c), the count in the window before (p), and for each node
 * that has told something the number of its last batch. An amount that a node repeats, because it has heard no answer, is not
 * counted twice. Only scripts with a single key touch it, as a cluster requires. It expires two windows after the last amount,
 * so that unused keys do not fill a Redis with `noeviction`. Of many nodes that have come and gone, the batches are forgotten.
 *
 * Redis's clock may go back: somebody sets it, or another server whose clock is behind takes over. A key that is one
 * window ahead is taken for the current one, so that a small step gives nothing away. A key that is further ahead
 * counts as nothing; otherwise it would keep everybody out for the length of the step.
 */
import { createRequire } from 'node:module'
import type { RateLimiterRes } from 'rate-limiter-flexible'
import type { RedisClient } from './redis.ts'

/**
 * ARGV: amount, seconds (unused), points (unused), window in seconds, node, batch. An amount of 0 only asks. The library passes
 * two numbers on, and three are needed: returns current * 2^26 + previous, and the ms that are left of the window.
 */
const SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local amount, span, node, batch = tonumber(ARGV[1]), ARGV[4] * 1000, ARGV[5], tonumber(ARGV[6])
local window = math.floor(now / span)
local left = span - (now - window * span)
local held = redis.call('HMGET', KEYS[1], 'w', 'c', 'p', node)
local current, previous = 0, 0
local passed = held[1] and window - held[1]
if passed == 0 or passed == -1 then current, previous = tonumber(held[2]), tonumber(held[3])
elseif passed == 1 then previous = tonumber(held[2]) end
if amount ~= 0 and batch > tonumber(held[4] or 0) then
  current = current + amount
  if current < 0 then
    previous = math.max(0, previous + current)
    current = 0
  end
  current = math.min(current, 67108863)
  if passed and passed ~= 0 and redis.call('HLEN', KEYS[1]) > 200 then redis.call('DEL', KEYS[1]) end
  redis.call('HSET', KEYS[1], 'w', window, 'c', current, 'p', previous, node, batch)
  redis.call('PEXPIRE', KEYS[1], left + span)
end
return {current * 67108864 + previous, left}
`
const PACKED = 2 ** 26

/** What all nodes have let in: in the present window of Redis's clock and in the one before, and the ms that are left of it. */
export interface Heard {
  readonly current: number
  readonly previous: number
  readonly leftMs: number
}

export interface SharedCounter {
  /**
   * Adds a whole number; 0 only asks. A negative amount is taken back, at most down to 0.
   * @param batch a number that grows; an amount that is repeated with the same number counts once
   * @throws the error of Redis or of the connection, or Nonsense if the answer is not a count
   */
  add(key: string, amount: number, batch: number): Promise<Heard>
}

export interface SharedCounterOptions {
  readonly client: RedisClient
  /** The prefix of all keys. */
  readonly prefix: string
  /** Part of the names of the counter's keys: `<prefix>l:<name>:<key>`. */
  readonly name: string
  /** A multiple of 1000: the library counts in seconds. */
  readonly windowMs: number
  /** The name of this node, which no other node has, nor had before. */
  readonly node: string
}

const require = createRequire(import.meta.url)

export function createSharedCounter({ client, prefix, name, windowMs, node }: SharedCounterOptions): SharedCounter {
  // Only a node that uses Redis loads it (redis.ts).
  const { RateLimiterRedis } = require('rate-limiter-flexible') as typeof import('rate-limiter-flexible')
  let sending = 0
  const limiter = new RateLimiterRedis({
    storeClient: checking(client, windowMs, () => [node, String(sending)]),
    keyPrefix: `${prefix}l:${name}`,
    points: 1,
    duration: windowMs / 1000,
    customIncrTtlLuaScript: SCRIPT,
    rejectIfRedisNotReady: true,
  })
  return {
    async add(key, amount, batch) {
      // `penalty` sends the command before it returns.
      sending = batch
      const { consumedPoints, msBeforeNext }: RateLimiterRes = await limiter.penalty(key, amount)
      return { current: Math.floor(consumedPoints / PACKED), previous: consumedPoints % PACKED, leftMs: msBeforeNext }
    },
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
 * The client as the library sees it. It adds what only our script knows of to each command. The library turns any answer into a
 * number (OK into NaN, 1.5 into 1), and clients would be refused because of it. So each answer is checked before the library gets it.
 */
function checking(client: RedisClient, windowMs: number, more: () => string[]): object {
  const commands: { [name: string]: Command } = {}
  return Object.defineProperties(commands, {
    status: { get: () => client.status },
    defineCommand: {
      value(name: string, definition: { numberOfKeys: number; lua: string }) {
        client.defineCommand(name, definition)
        const send = (client as unknown as Record<string, Command>)[name] as Command
        commands[name] = async (args) => {
          const answer = await send.call(client, [...args, ...more()])
          const isRight = Array.isArray(answer) && answer.length === 2
          if (!isRight || !isCount(answer[0]) || !isCount(answer[1], windowMs)) throw new Nonsense(answer)
          return answer
        }
      },
    },
  })
}
