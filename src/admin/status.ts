/** The state of this node, as JSON and as text. */
import type { Remembered, Standing } from '../core/client.ts'
import type { Level, OverloadMode, Signal } from '../core/overload.ts'
import type { Differences } from '../state/agreement.ts'
import type { TrafficReport } from '../telemetry/traffic/report.ts'
import { type Response, text } from './response.ts'

export interface Status {
  readonly version: string
  readonly node: string
  readonly ready: boolean
  /** Since when the operator has drained the node, in ISO 8601; absent: it is not drained. */
  readonly drainedSince?: string
  readonly uptimeSeconds: number
  readonly connectionsOpen: number
  readonly unknownGuard: boolean
  /** How many clients are remembered, by the standing that their own history gives them. */
  readonly clients: Readonly<Record<Remembered, number>>
  readonly settings: {
    /** Of the settings in force: the same on nodes that have the same ones. */
    readonly hash: string
    /** Settings that had other values at the last reload without a mistake, and keep their old ones until a restart. */
    readonly needsRestart: readonly string[]
  }
  /** Absent while no worker has told its own. */
  readonly overload?: OverloadStatus
  /** The last hour, and what is normal; absent while no worker has told its own. */
  readonly traffic?: TrafficReport
  /** Checks that refuse nobody (SPILLWAY_OBSERVE); absent if there are none. */
  readonly observing?: readonly string[]
  /** Absent if limits are counted only in memory. */
  readonly redis?: ConditionReport & {
    readonly up: boolean
    readonly nodes: number
    /** What is not the same on all nodes that share it; absent: all that is known is. */
    readonly differences?: Differences
  }
  /** Of the kernel's table (SPILLWAY_KERNEL_OFFLOAD); `held`: how many sources it should know. Absent if there is none. */
  readonly kernel?: ConditionReport & { readonly held: number }
  /** Absent if STARTTLS is not offered. */
  readonly tls?: TlsReport
  /** Every address of every mail server; a name that does not resolve appears as the operator wrote it. */
  readonly upstreams: readonly (ConditionReport & {
    readonly upstream: string
    readonly address: string
    readonly up: boolean
    readonly connections: number
    /** The most connections that there may be to it now; 0 while its address is not known. */
    readonly limit: number
    /** How long it takes to accept a message (p95 of the last half minute); absent if it has had too few lately. */
    readonly dotSeconds?: number
  })[]
  /** Absent where one process serves all. */
  readonly workers?: readonly WorkerStatus[]
}

export interface WorkerStatus {
  readonly worker: number
  /** Whether it serves, and answered its parent within a second. If not, the rest is what it told last. */
  readonly up: boolean
  readonly restarts: number
  readonly pid?: number
  readonly uptimeSeconds?: number
  readonly connectionsOpen?: number
  /** The hash of the settings it has. */
  readonly settings?: string
}

/** The condition of something we depend on, since when, and why. Times are in ISO 8601. */
export interface ConditionReport {
  readonly state: string
  readonly since: string
  /** The last failure, in words; absent while all is well. */
  readonly error?: string
  /** Of a mail server: that it takes no XCLIENT from this node, in words; absent: something else is wrong, or nothing. */
  readonly xclient?: string
  readonly last_success?: string
}

/** docs/overload.md says what it means. */
export interface OverloadStatus {
  readonly level: Level
  /** In ISO 8601. */
  readonly since: string
  /** SPILLWAY_OVERLOAD, or what the operator has pinned in its place for a while. */
  readonly mode: OverloadMode
  /** SPILLWAY_OVERLOAD. */
  readonly setting: OverloadMode
  /** In ISO 8601; absent: nothing is pinned. */
  readonly pinnedUntil?: string
  /** The signal with the highest pressure, which is the pressure of the node. */
  readonly signal: Signal
  readonly pressure: number
  readonly signals: Readonly<Record<Signal, number>>
  /** SPILLWAY_OVERLOAD_UPSTREAM_LATENCY. */
  readonly latencyTargetSeconds: number
  /** The mail server that takes longest to accept messages (p95); absent if none has had enough of them lately. */
  readonly slowest?: { readonly upstream: string; readonly seconds: number }
  /** The mail server of which the highest pressure is reported; absent while nothing is reported. */
  readonly fullest?: { readonly upstream: string; readonly pressure: number }
  /** The share of the messages of a standing that is let in, 0 to 1. */
  readonly admission: Readonly<Record<Standing, number>>
}

export interface TlsReport {
  /** Why the files cannot be used as they are now, so that older certificates stay in use. */
  readonly error?: string
  readonly certificates: readonly {
    readonly name: string
    readonly expires: string
    /** What keeps senders away. */
    readonly warnings: readonly string[]
    /** The same in two parts: what is wrong, and what to do about it. */
    readonly doubts: readonly { readonly what: string; readonly cure?: string }[]
  }[]
}

/**
 * The response of /readyz: 200 while this node takes clients.
 * @param query with `verbose` the response lists what the node depends on; with `upstreams` one of them must be up too
 */
export function readiness(query: URLSearchParams, status: Status): Response {
  const { ready, upstreams } = status
  const good = ready && (!query.has('upstreams') || upstreams.some(({ up }) => up))
  const lines = [good ? 'ok' : ready ? 'no upstream is up' : 'not ready']
  if (query.has('verbose')) lines.push(...ofNode(status), ...ofDependencies(status))
  return text(good ? 200 : 503, lines.join('\n'))
}

function ofNode({ ready, drainedSince, overload, workers = [] }: Status): string[] {
  const lines = [`listening and not draining: ${ready ? 'yes' : 'no'}`]
  if (drainedSince !== undefined)
    lines.push(`drained by the operator since ${drainedSince}: whoever comes is served; spillway undrain ends it`)
  if (overload !== undefined)
    lines.push(
      `overload level ${overload.level} since ${overload.since}; pressure ${overload.pressure} (${overload.signal})`,
    )
  for (const { worker, up, restarts } of workers)
    lines.push(`worker ${worker}: ${up ? 'up' : 'does not answer'}; restarts: ${restarts}`)
  return lines
}

function ofDependencies({ upstreams, redis, kernel, tls }: Status): string[] {
  const lines = upstreams.map(
    ({ upstream, address, ...condition }) =>
      `upstream ${upstream}${upstream === address ? '' : ` (${address})`}: ${inWords(condition)}`,
  )
  if (redis !== undefined) lines.push(`redis: ${inWords(redis)}; nodes: ${redis.nodes}`)
  if (kernel !== undefined) lines.push(`kernel: ${inWords(kernel)}; sources held: ${kernel.held}`)
  for (const { name, expires, warnings } of tls?.certificates ?? [])
    lines.push(`certificate ${name}: ${warnings.length === 0 ? 'well' : warnings.join('; ')}; expires ${expires}`)
  if (tls?.error !== undefined)
    lines.push(`certificate files: cannot be used, and those read before stay in use: ${tls.error}`)
  return lines
}

/** `down since 2026-11-21T21:00:00.000Z: connect ECONNREFUSED …; last success …` */
function inWords({ state, since, error, last_success }: ConditionReport): string {
  const why = error === undefined ? '' : `: ${error}`
  const success =
    state === 'up' ? '' : `; ${last_success === undefined ? 'never well before' : `last well ${last_success}`}`
  return `${state} since ${since}${why}${success}`
}
