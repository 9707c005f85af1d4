/** What comes in, against what is normal; and how much of what known senders bring comes through. */
import type { TrafficReport } from '../telemetry/traffic/report.ts'

/** How often normal makes a flood, and how many connections a minute more at least. */
const FLOOD = 3
const FLOOD_LEAST = 60
const KNOWN_MINUTES = 10
/** Fewer minutes tell nothing of what is usual. */
const LATELY_LEAST = 10

export interface Inbound {
  /** Connections of the last minute over what is normal; undefined: nothing is known to compare with. */
  readonly times: number | undefined
  /** What it is compared with, in words. */
  readonly than: string
  readonly isFlood: boolean
  /** For how many minutes. */
  readonly forMinutes: number
}

/** The last minute against what is normal. */
export function inboundOf(traffic: TrafficReport | undefined): Inbound {
  const connections = traffic?.minutes.connections ?? []
  const now = connections.at(-1)
  const base = traffic?.normal?.connections ?? lately(connections)
  const than = traffic?.normal === undefined ? 'the quiet quarter of the last hour (normal not known yet)' : 'normal'
  if (base === undefined || now === undefined) return { times: undefined, than, isFlood: false, forMinutes: 0 }
  const isOver = (each: number): boolean => each >= FLOOD * base && each >= base + FLOOD_LEAST
  const calm = connections.findLastIndex((each) => !isOver(each))
  return { times: now / Math.max(base, 1), than, isFlood: isOver(now), forMinutes: connections.length - 1 - calm }
}

function lately(connections: readonly number[]): number | undefined {
  if (connections.length < LATELY_LEAST) return undefined
  return [...connections].sort((a, b) => a - b)[Math.floor(connections.length / 4)]
}

/**
 * The share of sessions of known senders in the last minutes that were relayed, of all but those that the mail servers refused;
 * undefined: none came.
 */
export function knownThrough(
  traffic: TrafficReport | undefined,
): { readonly share: number; readonly of: number } | undefined {
  const sum = (name: 'known' | 'known_shed' | 'known_refused'): number =>
    (traffic?.minutes[name] ?? []).slice(-KNOWN_MINUTES).reduce((all, each) => all + each, 0)
  const of = sum('known') + sum('known_shed') + sum('known_refused')
  return of === 0 ? undefined : { share: sum('known') / of, of }
}
