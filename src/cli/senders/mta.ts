/**
 * How honest mail servers come back after a 4yz: when each retry is due, and when they give up. Postfix, Exim and qmail as
 * their documentation says; the schedules of the large providers are published observations. Where a provider's schedule is
 * known for its first hours only, it is assumed to go on in its last step.
 */
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

export type MtaName = 'postfix' | 'exim' | 'qmail' | 'gmail' | 'outlook' | 'yahoo' | 'aol' | 'qq'

export interface Mta {
  readonly name: MtaName
  /** The share of honest senders that run it (assumed). */
  readonly weight: number
  /** From how many addresses its tries come, in turn. */
  readonly addresses: number
  /** The time of retry `n` (from 1 on) after the first try, in ms; undefined once it has given up. */
  retryAtMs(n: number): number | undefined
}

/** From waits between tries. */
const waiting =
  (waitMs: (n: number) => number, givesUpMs: number): Mta['retryAtMs'] =>
  (n) => {
    let at = 0
    for (let i = 1; i <= n && at <= givesUpMs; i++) at += waitMs(i)
    return at <= givesUpMs ? at : undefined
  }

/** From minutes after the first try; further ones follow each other as the last two did. */
const minutes =
  (list: readonly number[], givesUpMs: number, stepMin?: number): Mta['retryAtMs'] =>
  (n) => {
    const last = list.at(-1) as number
    const step = stepMin ?? last - (list.at(-2) as number)
    const at = (n <= list.length ? (list[n - 1] as number) : last + step * (n - list.length)) * MINUTE_MS
    return at <= givesUpMs ? at : undefined
  }

/** `F,2h,15m; G,16h,1h,1.5; F,4d,6h`, as Exim ships it. */
function eximWaitMs(n: number): number {
  if (n <= 8) return 15 * MINUTE_MS
  return n <= 14 ? HOUR_MS * 1.5 ** (n - 9) : 6 * HOUR_MS
}

export const MTAS: readonly Mta[] = [
  // minimal_backoff_time, maximal_backoff_time, maximal_queue_lifetime
  {
    name: 'postfix',
    weight: 30,
    addresses: 1,
    retryAtMs: waiting((n) => Math.min(300 * 2 ** (n - 1), 4000) * 1000, 5 * DAY_MS),
  },
  { name: 'exim', weight: 15, addresses: 1, retryAtMs: waiting(eximWaitMs, 4 * DAY_MS) },
  {
    name: 'qmail',
    weight: 5,
    addresses: 1,
    retryAtMs: (n) => (400 * n ** 2 <= 604_800 ? 400_000 * n ** 2 : undefined),
  },
  {
    name: 'gmail',
    weight: 22,
    addresses: 7,
    retryAtMs: minutes([6, 29, 57, 99, 162, 230, 309, 435], 3 * DAY_MS),
  },
  { name: 'outlook', weight: 20, addresses: 1, retryAtMs: minutes([1, 2, 3, 5, 8, 12, 16], DAY_MS, 4) },
  { name: 'yahoo', weight: 4, addresses: 1, retryAtMs: minutes([2, 6, 13, 27, 55, 110, 217, 431], 2 * DAY_MS) },
  { name: 'aol', weight: 2, addresses: 1, retryAtMs: minutes([6, 12, 22, 32], 32 * MINUTE_MS) },
  // Twelve tries, of which the first is no retry.
  {
    name: 'qq',
    weight: 2,
    addresses: 1,
    retryAtMs: (n) => (n <= 11 ? (n / 11) * 3.4 * HOUR_MS : undefined),
  },
]

export const mta = (name: MtaName): Mta => MTAS.find((each) => each.name === name) as Mta
