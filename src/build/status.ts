/** What a node reports about itself: to the operator as JSON, and to Prometheus as gauges. */
import type { ConditionReport, OverloadStatus, Status, TlsReport } from '../admin/status.ts'
import { warningText } from '../config/rule.ts'
import { REMEMBERED, STANDINGS } from '../core/client.ts'
import { type OverloadMode, SIGNALS } from '../core/overload.ts'
import { recordOf } from '../core/record.ts'
import type { CertificatesReport } from '../front/certificates.ts'
import type { Guesses } from '../overload/guesses.ts'
import type { Overload } from '../overload/overload.ts'
import type { Pin } from '../overload/pin.ts'
import type { Condition } from '../relay/pool/server.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import type { Differences } from '../state/agreement.ts'
import type { KnownRecipients } from '../state/known-recipients.ts'
import type { Seats } from '../state/seats.ts'
import type { GaugeSources } from '../telemetry/metrics.ts'
import type { Traffic } from '../telemetry/traffic/traffic.ts'
import type { BuiltKernel } from './kernel.ts'
import type { Counting } from './limits.ts'
import type { BuiltPolicy } from './policy.ts'
import type { Reloader } from './reload.ts'

export interface StatusSources {
  readonly version: string
  readonly node: string
  readonly ready: () => boolean
  /** Since when the operator has drained the node, in ms since the epoch; undefined: it is not drained. */
  readonly drainedSince: () => number | undefined
  /** Milliseconds since this node was started. */
  readonly uptimeMs: () => number
  readonly seats: Seats
  readonly counting: Counting
  readonly knownRecipients: KnownRecipients
  readonly upstreams: Upstreams
  /** Of which the certificates are told; undefined: STARTTLS is not offered. */
  readonly policy: Pick<BuiltPolicy, 'certificates' | 'settings'>
  readonly reloader: Pick<Reloader, 'state'>
  readonly overload: Pick<Overload, 'level' | 'share' | 'report'>
  readonly guesses: Pick<Guesses, 'share'>
  readonly kernel: Pick<BuiltKernel, 'report'>
  readonly pin: Pick<Pin, 'value'>
  readonly traffic: Pick<Traffic, 'report'>
}

export function statusOf(sources: StatusSources): Status {
  const { version, node, ready, uptimeMs, seats, knownRecipients, upstreams, policy } = sources
  const { shared } = sources.counting
  const kernel = sources.kernel.report()
  const drainedSince = sources.drainedSince()
  return {
    version,
    node,
    ready: ready(),
    ...(drainedSince !== undefined && { drainedSince: iso(drainedSince) }),
    uptimeSeconds: Math.round(uptimeMs() / 1000),
    connectionsOpen: seats.total,
    unknownGuard: knownRecipients.guarding(),
    clients: recordOf(REMEMBERED, (standing) => sources.counting.history.count(standing)),
    settings: sources.reloader.state(),
    overload: overloadOf(sources, policy.settings),
    traffic: sources.traffic.report(),
    ...observing(policy.settings.observe),
    ...(shared !== undefined && {
      redis: {
        up: shared.shared(),
        nodes: shared.nodes(),
        ...differing(shared.differences()),
        ...reportOf(shared.condition()),
      },
    }),
    ...(kernel !== undefined && { kernel: { ...reportOf(kernel), held: kernel.held } }),
    ...(policy.certificates !== undefined && { tls: tlsOf(policy.certificates.report()) }),
    upstreams: upstreamsOf(upstreams, policy.settings.overloadUpstreamLatency),
  }
}

const iso = (at: number): string => new Date(at).toISOString()

const differing = (differences: Differences): { readonly differences?: Differences } =>
  differences.limits.length + differences.settings.length === 0 ? {} : { differences }

const observing = (observe: 'all' | readonly string[]): Pick<Status, 'observing'> =>
  observe === 'all' ? { observing: ['all'] } : observe.length === 0 ? {} : { observing: observe }

/** @param mayTakeMs how long a server may take to accept a message */
function upstreamsOf(upstreams: Upstreams, mayTakeMs: number): Status['upstreams'] {
  const samples = upstreams.slots.load(mayTakeMs).servers
  return upstreams.conditions().map(({ condition, ...where }) => {
    const up = condition.state === 'up' || condition.state === 'slow'
    const dots = samples.flatMap(({ upstream, dotMs }) =>
      upstream === where.upstream && dotMs !== undefined ? dotMs : [],
    )
    const own = up && dots.length > 0 ? { dotSeconds: rounded(Math.max(...dots) / 1000) } : {}
    return { ...where, up, ...own, ...reportOf(condition) }
  })
}

const rounded = (ratio: number): number => Math.round(ratio * 1000) / 1000

function overloadOf(
  { overload, pin }: Pick<StatusSources, 'overload' | 'pin'>,
  { overload: setting, overloadUpstreamLatency: latencyMs }: StatusSources['policy']['settings'],
): OverloadStatus {
  const { mode, level, since, pressure } = overload.report()
  const pinned = pin.value
  const { signal, value, of, slowest, fullest } = pressure
  return {
    level,
    since: iso(since),
    mode,
    setting: setting as OverloadMode,
    ...(pinned !== undefined && { pinnedUntil: iso(pinned.until) }),
    signal,
    pressure: rounded(value),
    signals: recordOf(SIGNALS, (each) => rounded(of[each])),
    latencyTargetSeconds: latencyMs / 1000,
    ...(slowest !== undefined && { slowest: { upstream: slowest.upstream, seconds: rounded(slowest.ms / 1000) } }),
    ...(fullest !== undefined && { fullest: { upstream: fullest.upstream, pressure: rounded(fullest.value) } }),
    admission: recordOf(STANDINGS, (standing) => rounded(overload.share(standing))),
  }
}

const tlsOf = ({ certificates, ...error }: CertificatesReport): TlsReport => ({
  ...error,
  certificates: certificates.map(({ name, expires, doubts }) => ({
    ...{ name, expires: iso(expires), warnings: doubts.map(warningText) },
    doubts: doubts.map(({ what, cure }) => ({ what, ...(cure !== undefined && { cure }) })),
  })),
})

const reportOf = ({
  state,
  since,
  error,
  xclient,
  lastSuccess,
}: Partial<Condition> & Pick<Condition, 'state' | 'since'>): ConditionReport => ({
  state,
  since: iso(since),
  ...(error !== undefined && { error }),
  ...(xclient !== undefined && { xclient }),
  ...(lastSuccess !== undefined && { last_success: iso(lastSuccess) }),
})

export const gaugesOf = ({
  drainedSince,
  seats,
  counting,
  knownRecipients,
  upstreams,
  overload,
  guesses,
}: StatusSources): GaugeSources => ({
  drained: () => drainedSince() !== undefined,
  connectionsOpen: (family) => seats.ofFamily(family),
  upstreamUp: (label) => upstreams.isUp(label),
  upstreamDrained: (label) => upstreams.drained.has(label),
  upstreamConnections: (label) => upstreams.connections(label),
  upstreamLimit: (label) => upstreams.limit(label),
  upstreamStrangersLimit: (label) => upstreams.strangersLimit(label),
  limitUtilization: (limit) => counting.limits.utilization(limit),
  remembered: (standing) => counting.history.count(standing),
  trackedClients: () => counting.limits.tracked(),
  unknownGuardActive: () => knownRecipients.guarding(),
  bansActive: () => counting.bans.count(),
  unknownRemembered: () => counting.unknownRecipients.count(),
  overloadLevel: () => overload.level,
  overloadPressure: (signal) => overload.report().pressure.of[signal],
  admission: (standing) => overload.share(standing),
  guessAdmission: () => guesses.share,
  admissionQueue: (standing) => upstreams.slots.waiting(standing),
})
