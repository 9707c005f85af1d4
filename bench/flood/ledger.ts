// What became of each delivery: one message for one recipient. The senders say what they sent, tried and heard, the cluster
// says what it took and how often; nobody estimates anything.

/** Who sends, by the lab's own truth: known is who has had an honest message accepted before. */
export type Class = 'known' | 'first contact' | 'spam'
export const CLASSES: readonly Class[] = ['known', 'first contact', 'spam']

export interface Delivery {
  /** The message's name and the recipient. */
  readonly id: string
  readonly class: Class
  /** When it was first tried, in ms since the load began. */
  readonly sentMs: number
  tries: number
  /** When it was accepted. */
  acceptedMs?: number
  /** How long the transaction that was accepted took, in ms; see Answer in src/cli/senders/visit.ts. */
  tookMs?: number
  atFirstTry?: boolean
  /** Of it the time from the dot to its reply. */
  dotMs?: number
  /** When it was last tried. */
  lastTriedMs?: number
  /** A connection ended without a reply to its dot. */
  isCutPastDot?: boolean
  /** When the cluster said 5yz to a recipient that there is. */
  refusedMs?: number
  /** Spillway itself said 4yz, at least once. */
  putOffByUs?: boolean
  /** Spillway itself said 5yz. */
  refusedByUs?: boolean
  /** It comes from a network that also sends spam; see nets-past.ts. */
  isHosted?: boolean
}

export interface ClassTally {
  sent: number
  tried: number
  atFirstTry: number
  within30Min: number
  /** Undefined where the run did not last four hours of model time. */
  within4H: number | undefined
  p50Ms: number
  p99Ms: number
  once: number
  twice: number
  never: number
  /** Accepted, and not with the cluster. This must be 0. */
  lost: number
  putOffByUs: number
  refusedByUs: number
}

const SECOND_MS = 1000
const MINUTE_MS = 60_000
/** Another try within this, in model time, is the same try. */
const SAME_TRY_MS = MINUTE_MS

export interface Acceptance {
  readonly atMs: number
  readonly tookMs: number
  /** See Delivery. */
  readonly dotMs?: number
  /** Of the try: its number, from 1 on, and when it began. */
  readonly tries: number
  readonly beganMs: number
  readonly k: number
}

/**
 * The delivery was accepted. It was so at the first try if that was the sender's first, whatever nodes it asked one after the
 * other, or one within a minute of model time. That holds for honest mail and for spam.
 */
export function accept(delivery: Delivery, { atMs, tookMs, dotMs, tries, beganMs, k }: Acceptance): void {
  if (delivery.acceptedMs !== undefined) return
  delivery.acceptedMs = atMs
  delivery.tookMs = tookMs
  if (dotMs !== undefined) delivery.dotMs = dotMs
  delivery.atFirstTry = tries === 1 || beganMs - delivery.sentMs <= SAME_TRY_MS / k
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

/**
 * @param arrived how often the cluster has each delivery
 * @param k model time runs so many times faster
 * @param watchedMs how long the run went on after the last was sent, in ms of the wall clock
 */
export function tally(
  deliveries: readonly Delivery[],
  arrived: ReadonlyMap<string, number>,
  { k, watchedMs }: { readonly k: number; readonly watchedMs: number },
): ClassTally {
  const within = (minutes: number) =>
    deliveries.filter((each) => (each.acceptedMs ?? Infinity) - each.sentMs <= (minutes * MINUTE_MS) / k).length
  const copies = deliveries.map(({ id }) => arrived.get(id) ?? 0)
  const times = deliveries.flatMap(({ tookMs }) => tookMs ?? [])
  return {
    sent: deliveries.length,
    tried: deliveries.reduce((sum, { tries }) => sum + tries, 0),
    atFirstTry: deliveries.filter(({ atFirstTry }) => atFirstTry).length,
    within30Min: within(30),
    within4H: watchedMs >= (240 * MINUTE_MS) / k ? within(240) : undefined,
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
    once: copies.filter((each) => each === 1).length,
    twice: copies.filter((each) => each > 1).length,
    never: copies.filter((each) => each === 0).length,
    lost: deliveries.filter(({ acceptedMs }, i) => acceptedMs !== undefined && copies[i] === 0).length,
    putOffByUs: deliveries.filter(({ putOffByUs }) => putOffByUs).length,
    refusedByUs: deliveries.filter(({ refusedByUs }) => refusedByUs).length,
  }
}

/** The sums of `spanS` values that follow each other, from each on. @param perSecond counts by second */
export const sums = (perSecond: readonly number[], spanS: number): number[] =>
  perSecond.map((_, i) => perSecond.slice(i, i + spanS).reduce((sum, each) => sum + each, 0))

const SPAN_S = 10

/** The most in any ten seconds, as a multiple of what the cluster can take in them. */
export const overCapacity = (perSecond: readonly number[], capacity: number): number =>
  Math.max(0, ...sums(perSecond, SPAN_S)) / (SPAN_S * capacity)

/**
 * When a sender that turned bad was held: so many seconds after `atS` the last ten seconds began in which more than `limit` a
 * second reached the cluster. 0: it never was above. @param perSecond transactions of that sender that the cluster began
 */
export function heldAfterS(perSecond: readonly number[], atS: number, limit: number): number {
  const last = sums(perSecond, SPAN_S).findLastIndex((each) => each > limit * SPAN_S)
  return Math.max(0, last + 1 - atS)
}

export interface Point {
  readonly s: number
  readonly share: number
}

/** The share of mail that the first try brought in, by the second of the wall clock it was sent in; spans of `stepS`. */
export function timeline(deliveries: readonly Delivery[], stepS: number): Point[] {
  const spans = new Map<number, { sent: number; accepted: number }>()
  for (const { sentMs, atFirstTry } of deliveries) {
    const s = Math.floor(sentMs / SECOND_MS / stepS) * stepS
    const span = spans.get(s) ?? { sent: 0, accepted: 0 }
    span.sent++
    if (atFirstTry) span.accepted++
    spans.set(s, span)
  }
  return [...spans].sort(([a], [b]) => a - b).map(([s, { sent, accepted }]) => ({ s, share: accepted / sent }))
}
