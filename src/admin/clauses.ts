/** Parts of the sentence that verdict.ts puts together. */
import type { Signal } from '../core/overload.ts'
import { type ReasonName, reasonOf } from '../core/reasons.ts'
import type { ReasonRow } from '../telemetry/traffic/report.ts'
import { inboundOf, knownThrough } from './inbound.ts'
import type { OverloadStatus, Status } from './status.ts'

export const times = (value: number): string => (value < 10 ? value.toFixed(1) : String(Math.round(value)))
export const percent = (share: number): string =>
  `${share >= 0.9995 ? '100' : (Math.floor(share * 1000) / 10).toFixed(1)} %`
export const minutes = (n: number): string => (n >= 60 ? 'over an hour' : n === 1 ? '1 minute' : `${n} minutes`)
export const seconds = (n: number): string =>
  n < 1 ? `${Math.round(n * 1000)} ms` : `${n < 10 ? Math.round(n * 10) / 10 : Math.round(n)} s`

export const knownClause = (status: Status): string => {
  const known = knownThrough(status.traffic)
  return known === undefined ? 'no known sender came lately' : `known senders ${percent(known.share)} through`
}

export function inboundClause({ traffic }: Status): string {
  const { times: n, than } = inboundOf(traffic)
  return n === undefined ? 'normal not known yet' : `inbound is ${times(n)} times ${than}`
}

export const capital = (text: string): string => text.replace(/^./, (letter) => letter.toUpperCase())

export type Upstream = Status['upstreams'][number]

/** As relay/ words it: the name has no address. */
const UNRESOLVED = /^name of upstream not resolved: /

/** Why a mail server is not used, and what to do about it. A cure that the reason has behind it is not said twice. */
export function troubleOf(server: Upstream): { readonly why: string | undefined; readonly cure: string } {
  const { upstream, error, xclient } = server
  if (UNRESOLVED.test(error ?? ''))
    return {
      why: error,
      cure: `correct the name of ${upstream} in SPILLWAY_UPSTREAMS, or let the DNS of this machine resolve it; spillway doctor says what it finds`,
    }
  if (xclient === undefined) return { why: error, cure: `bring ${upstream} back; spillway doctor says what to do` }
  return {
    why: xclient,
    cure: `let ${upstream} take XCLIENT from this node: with Postfix, add the address of this node to smtpd_authorized_xclient_hosts in main.cf, then postfix reload`,
  }
}

/** Mail servers that take longer than the target to accept messages, the slowest first. */
export const slowOf = ({ upstreams, overload }: Status): readonly Upstream[] =>
  upstreams
    .filter(({ dotSeconds = 0 }) => overload !== undefined && dotSeconds >= overload.latencyTargetSeconds)
    .sort((a, b) => (b.dotSeconds ?? 0) - (a.dotSeconds ?? 0))

export const slowClause = (status: Status): string | undefined => {
  const [slow] = slowOf(status)
  return slow && `${slow.upstream}: its dot takes ${seconds(slow.dotSeconds ?? 0)}`
}

export const SIGNAL_WORDS: Readonly<Record<Signal, string>> = {
  upstream_slots: 'the connections to the mail servers are used up',
  upstream_latency: 'the mail servers are slow to accept messages',
  reported_queue: 'the queue of a mail server is reported to be long',
  connections: 'client connections are near SPILLWAY_MAX_CONNECTIONS',
  event_loop: 'this process has more to do than it can',
  memory: 'memory runs short',
  global_limits: 'a limit for all clients together is nearly used up',
}

/** For what no setting governs. */
export const NO_SETTING = '–'

/** The setting that governs a reason. */
export const settingOfReason = (reason: ReasonName): string => {
  const { operator, check } = reasonOf(reason)
  return /SPILLWAY_[A-Z_]+/.exec(operator)?.[0] ?? (check === undefined ? NO_SETTING : `SPILLWAY_OBSERVE=${check}`)
}

/** What ends a level that is pinned: by the setting, or by `spillway level`, where what the setting says ends what was pinned. */
export const unpin = ({ pinnedUntil, setting }: OverloadStatus): string =>
  pinnedUntil === undefined ? 'set SPILLWAY_OVERLOAD=auto' : `spillway level ${setting}`

/** Why most are turned away now. */
export const mostFrequent = (traffic: Status['traffic']): ReasonRow | undefined =>
  (traffic?.reasons ?? []).filter(({ mode }) => mode === 'enforce').toSorted((a, b) => b.lastMinute - a.lastMinute)[0]
