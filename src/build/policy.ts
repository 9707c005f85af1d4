/**
 * Builds the policy: lists, checks and their modes, compiled from the settings into one immutable value. Whoever judges asks
 * this value, so that a reload swaps it whole.
 */
import { policy } from '../checks/index.ts'
import { createRunner, modeOf, type Runner } from '../checks/runner.ts'
import type { Settings } from '../config/settings.ts'
import { compile } from '../core/ip.ts'
import type { Mode } from '../core/policy.ts'
import type { Limits } from '../state/limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface BuiltPolicy {
  readonly checks: Runner
  /** Of the size check, for what only shows in the course of a message. */
  readonly sizeMode: Mode
  /** Octets a message may have; undefined: no limit. */
  readonly maxSize: () => number | undefined
  readonly isTrusted: (ip: string) => boolean
  readonly isBalancer: (ip: string) => boolean
}

export interface PolicySources {
  readonly settings: Settings
  readonly limits: Pick<Limits, 'lately'>
  /** The SIZE that every mail server in use offers; 0: none of them has a limit. */
  readonly offeredSize: () => number
  readonly metrics: Metrics
  readonly log: Log
}

export function buildPolicy({ settings, limits, offeredSize, metrics, log }: PolicySources): BuiltPolicy {
  const maxSize = (): number | undefined => {
    const offered = offeredSize()
    const set = settings.messageMaxSize === 'upstream' ? 0 : settings.messageMaxSize
    return offered > 0 && set > 0 ? Math.min(offered, set) : offered > 0 ? offered : set > 0 ? set : undefined
  }
  const checks = createRunner({
    policy: policy({
      isDenied: compile(settings.deny),
      concurrency: settings.limitIpConcurrency,
      maxSize,
      domains: settings.rcptDomains,
      recipientsPerMessage: settings.limitRecipientsPerMessage,
      unknownLately: (source) => limits.lately(source),
    }),
    mode: (name) => modeOf(name, settings.observe),
    metrics,
    log,
  })
  return {
    checks,
    sizeMode: modeOf('size', settings.observe),
    maxSize,
    isTrusted: compile(settings.allow),
    isBalancer: compile(settings.proxyProtocolFrom),
  }
}
