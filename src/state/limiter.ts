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
 */
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import type { Rate } from '../core/usage.ts'
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
  if passed <= 0 then current, previous = tonumber(held[2]), tonumber(held[3])
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
  /** In use in the whole cluster, this charge included; over `max`: it was refused, and nothing was charged. */
  readonly used: number
  /** Of a refused charge: after how many ms there is room for it, if nobody else takes it. */
  readonly waitMs: number
}

/** Both reject with what Redis or the connection to it says. */
export interface SharedCounter {
  /** Charges 1, unless that is over the limit. */
  charge(key: string): Promise<Counted>
  /** Adds whatever it comes to (a whole number; below 0: takes back, at most down to nothing). */
  add(key: string, amount: number): Promise<Counted>
}

export interface SharedCounterOptions {
  readonly client: RedisClient
  /** Of all keys. */
  readonly prefix: string
  /** What keys of this limit are called by: `<prefix>l:<name>:<key>`. */
  readonly name: string
  /** The window is whole seconds. */
  readonly rate: Rate
}

export function createSharedCounter({ client, prefix, name, rate }: SharedCounterOptions): SharedCounter {
  const limiter = (points: number): RateLimiterRedis =>
    new RateLimiterRedis({
      storeClient: client,
      keyPrefix: `${prefix}l:${name}`,
      points,
      duration: rate.windowMs / 1000,
      customIncrTtlLuaScript: SCRIPT,
      rejectIfRedisNotReady: true,
    })
  const bounded = limiter(rate.max)
  const unbounded = limiter(Number.MAX_SAFE_INTEGER)
  const counted = ({ consumedPoints, msBeforeNext }: RateLimiterRes): Counted => ({
    used: consumedPoints,
    waitMs: msBeforeNext,
  })
  return {
    // The library rejects with the result where a charge is refused, and with an Error where there is no result.
    charge: (key) =>
      bounded.consume(key).then(counted, (refused: unknown) => {
        if (refused instanceof RateLimiterRes) return counted(refused)
        throw refused
      }),
    add: (key, amount) => unbounded.penalty(key, amount).then(counted),
  }
}
