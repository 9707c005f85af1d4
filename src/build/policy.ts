/**
 * Builds the policy: the operator's lists, the checks and their modes, compiled from the settings into one immutable
 * value. A new policy replaces the old one as a whole while sessions go on (core/current.ts). Code that judges reads
 * the policy in force each time and keeps no part of it.
 */
import { policy } from '../checks/index.ts'
import { createRunner, modeOf, type Runner } from '../checks/runner.ts'
import type { Settings } from '../config/settings.ts'
import type { Standing } from '../core/client.ts'
import type { Current } from '../core/current.ts'
import { compile } from '../core/ip.ts'
import type { Mode } from '../core/policy.ts'
import type { CheckName } from '../core/reasons.ts'
import { type ClientAddress, standingOf } from '../overload/standing.ts'
import type { Limits } from '../state/limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface BuiltPolicy {
  readonly checks: Runner
  readonly mode: (check: CheckName) => Mode
  /** The most octets that a message may have; undefined if there is no limit. */
  readonly maxSize: () => number | undefined
  readonly standingOf: (address: ClientAddress) => Standing
  readonly isBalancer: (ip: string) => boolean
}

export interface PolicySources {
  readonly settings: Settings
  readonly limits: Pick<Limits, 'lately'>
  /** The SIZE that every mail server in use offers; 0 if none of them has a limit. */
  readonly offeredSize: () => number
  readonly metrics: Metrics
  readonly log: Log
}

/** A policy that asks the policy in force for each answer, so that no answer is older than the last swap. */
export const inForce = (current: Current<BuiltPolicy>): BuiltPolicy => ({
  checks: { run: (stage, part, facts, observed) => current.value.checks.run(stage, part, facts, observed) },
  mode: (check) => current.value.mode(check),
  maxSize: () => current.value.maxSize(),
  standingOf: (address) => current.value.standingOf(address),
  isBalancer: (ip) => current.value.isBalancer(ip),
})

export function buildPolicy({ settings, limits, offeredSize, metrics, log }: PolicySources): BuiltPolicy {
  const maxSize = (): number | undefined => {
    const offered = offeredSize()
    const set = settings.messageMaxSize === 'upstream' ? 0 : settings.messageMaxSize
    return offered > 0 && set > 0 ? Math.min(offered, set) : offered > 0 ? offered : set > 0 ? set : undefined
  }
  const mode = (name: CheckName): Mode => modeOf(name, settings.observe)
  const evidence = { isAllowed: compile(settings.allow) }
  const checks = createRunner({
    policy: policy({
      isDenied: compile(settings.deny),
      concurrency: () => settings.limitIpConcurrency,
      domains: settings.rcptDomains,
      recipientsPerMessage: settings.limitRecipientsPerMessage,
      unknownLately: (client) => limits.lately(client),
    }),
    mode,
    metrics,
    log,
  })
  return {
    checks,
    mode,
    maxSize,
    standingOf: (address) => standingOf(address, evidence),
    isBalancer: compile(settings.proxyProtocolFrom),
  }
}
