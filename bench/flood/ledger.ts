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
  /** From connecting to the reply, in ms, of the try that was accepted. */
  tookMs?: number
  /** Accepted by the first try; another within a minute of model time is the same try. */
  atFirstTry?: boolean
  /** Spillway itself said 5yz. */
  refusedByUs?: boolean
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
  refusedByUs: number
}

const MINUTE_MS = 60_000

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
    refusedByUs: deliveries.filter(({ refusedByUs }) => refusedByUs).length,
  }
}

/** The most that began in any ten seconds, as a multiple of what the cluster can take in them. */
export function overCapacity(perSecond: readonly number[], capacity: number): number {
  let most = 0
  for (let i = 0; i < perSecond.length; i++) {
    most = Math.max(
      most,
      perSecond.slice(i, i + 10).reduce((sum, each) => sum + each, 0),
    )
  }
  return most / (10 * capacity)
}

/** The share of honest mail that the first try brought in, by the second of the wall clock it was sent in; spans of `stepS`. */
export function timeline(
  deliveries: readonly Delivery[],
  stepS: number,
): { readonly s: number; readonly share: number }[] {
  const spans = new Map<number, { sent: number; accepted: number }>()
  for (const { class: who, sentMs, atFirstTry } of deliveries) {
    if (who === 'spam') continue
    const s = Math.floor(sentMs / 1000 / stepS) * stepS
    const span = spans.get(s) ?? { sent: 0, accepted: 0 }
    span.sent++
    if (atFirstTry) span.accepted++
    spans.set(s, span)
  }
  return [...spans].sort(([a], [b]) => a - b).map(([s, { sent, accepted }]) => ({ s, share: accepted / sent }))
}
