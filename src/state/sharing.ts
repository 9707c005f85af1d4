/** What whoever shares something over Redis, in the background, needs for it. */
import type { RedisUse } from '../telemetry/metrics.ts'
import type { RedisClient } from './redis.ts'
import type { SharingFailuresOptions } from './sharing-failures.ts'

export interface SharingOptions extends SharingFailuresOptions {
  readonly client: RedisClient
  /** The prefix of all keys. */
  readonly prefix: string
  /** A number that changes each time Redis comes back; undefined while it is away. */
  readonly upSince: () => number | undefined
  /** Counts one command. */
  readonly watched: <T>(use: RedisUse, answer: Promise<T>) => Promise<T>
  /** Milliseconds since the epoch. */
  readonly now: () => number
}
