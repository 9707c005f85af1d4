/** Builds the limits: counted in this node's memory, or shared by all nodes through Redis. */
import { randomBytes } from 'node:crypto'
import { ratesOf } from '../config/limit-rules.ts'
import type { Settings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import type { Mode } from '../core/policy.ts'
import { type CheckName, checkOf } from '../core/reasons.ts'
import { createLimits, type Limits, type LimitsOptions } from '../state/limits.ts'
import { connectRedis, type RedisLink } from '../state/redis.ts'
import { createSharedLimits, type SharedLimits } from '../state/shared-limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface Counting {
  readonly limits: Limits
  /** The same object as `limits` where Redis is set. */
  readonly shared: SharedLimits | undefined
  readonly redis: RedisLink | undefined
}

export interface CountingOptions {
  readonly settings: Settings
  /** The present mode of a check. What an observed limit would refuse is still charged to the wider limits. */
  readonly mode: (check: CheckName) => Mode
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
}

/** Starts connecting to Redis where one is set; shared counting begins with `shared.start()`. */
export function buildLimits({ settings, mode, metrics, log, clock }: CountingOptions): Counting {
  const counting: LimitsOptions = {
    rates: ratesOf(settings),
    enforced: (limit) => mode(checkOf(limit)) === 'enforce',
    now: clock.now,
    seed: randomBytes(8),
  }
  if (settings.redisUrl === undefined) {
    return { limits: createLimits(counting), shared: undefined, redis: undefined }
  }
  const redis = connectRedis({ address: settings.redisUrl, timeoutMs: settings.redisTimeout, log })
  const shared = createSharedLimits({
    ...counting,
    link: redis,
    prefix: settings.redisPrefix,
    timeoutMs: settings.redisTimeout,
    elapsed: clock.elapsed,
    // Two nodes may have the same name, and a node that was restarted must not pass for the one before.
    node: `${settings.hostname}:${randomBytes(6).toString('hex')}`,
    metrics,
    log,
  })
  return { limits: shared, shared, redis }
}
