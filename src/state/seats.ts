/**
 * The open connections of this node: in total, by address family, by source, by neighbourhood, and those of strangers. A seat is
 * taken at accept, and its holder frees it. The tables have one entry for each source and each neighbourhood that has a connection
 * open, so that MAX_CONNECTIONS bounds them.
 *
 * A neighbourhood may hold half of the seats that all others leave, so that nobody with a /24 or a /48 takes them all:
 *
 *     held ≤ max(LEAST_OF_NET, ⌊(MAX_CONNECTIONS − seats of all others) / 2⌋)
 *
 * The same holds for its strangers within what strangers may hold together (overload/reserve.ts). Relays (SPILLWAY_RELAYS) are one
 * source and one neighbourhood, wherever they are: that is their budget.
 *
 * One greedy neighbourhood gets half, two get a third each, and k of them leave a part of 1 / (k + 1) to everybody else. It is
 * the rule that switches share their memory among queues by (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
 * Shared-Memory Packet Switches", 1998, with α = 1).
 */
import { type Client, isFriend, isRelay, type OpenCounts } from '../core/client.ts'

export interface Seat {
  readonly open: OpenCounts
  /** May be called more than once; only the first call counts. */
  free(): void
}

/** No source and no neighbourhood has this key. */
const OF_RELAYS = { source: 'relays', net: 'relays' }

/** A neighbourhood may always hold this many: as many as one address may, if LIMIT_IP_CONCURRENCY is as shipped. */
const LEAST_OF_NET = 100

/** How many seats a neighbourhood may hold. @param max of all @param taken by all @param ofNet those of `taken` that it holds */
export const mostOfNet = (max: number, taken: number, ofNet: number): number =>
  Math.max(LEAST_OF_NET, Math.floor((max - (taken - ofNet)) / 2))

/**
 * How many seats the client's neighbourhood has, and may have, if it has too many.
 * @param max MAX_CONNECTIONS @param strangersMost how many of them strangers may hold together
 */
export function crowdOf(
  open: OpenCounts,
  max: number,
  strangersMost: number,
): { used: number; max: number } | undefined {
  const ofNet = mostOfNet(max, open.total, open.net)
  if (open.net > ofNet) return { used: open.net, max: ofNet }
  const ofStrangers = mostOfNet(strangersMost, open.strangers, open.strangersOfNet)
  return open.strangersOfNet > ofStrangers ? { used: open.strangersOfNet, max: ofStrangers } : undefined
}

/** One more or one less of what is counted under a key. @returns how many there are */
function count(counts: Map<string, number>, key: string, change: 1 | -1): number {
  const now = (counts.get(key) ?? 0) + change
  if (now === 0) counts.delete(key)
  else counts.set(key, now)
  return now
}

export class Seats {
  readonly #bySource = new Map<string, number>()
  readonly #byNet = new Map<string, number>()
  readonly #strangersByNet = new Map<string, number>()
  readonly #byFamily = { 4: 0, 6: 0 }
  #total = 0
  #strangers = 0

  take(client: Pick<Client, 'source' | 'net' | 'family' | 'standing' | 'isRelay'>): Seat {
    const { family } = client
    const { source, net } = isRelay(client) ? OF_RELAYS : client
    const stranger = isFriend(client) ? 0 : 1
    const ofSource = count(this.#bySource, source, 1)
    const ofNet = count(this.#byNet, net, 1)
    const strangersOfNet = stranger === 1 ? count(this.#strangersByNet, net, 1) : 0
    this.#byFamily[family]++
    this.#total++
    this.#strangers += stranger
    let taken = true
    return {
      open: { source: ofSource, net: ofNet, strangersOfNet, strangers: this.#strangers, total: this.#total },
      free: () => {
        if (!taken) return
        taken = false
        this.#total--
        this.#strangers -= stranger
        this.#byFamily[family]--
        count(this.#bySource, source, -1)
        count(this.#byNet, net, -1)
        if (stranger === 1) count(this.#strangersByNet, net, -1)
      },
    }
  }

  get total(): number {
    return this.#total
  }

  /** How many are taken by each neighbourhood that has any. */
  get ofNets(): Iterable<number> {
    return this.#byNet.values()
  }

  ofFamily(family: 4 | 6): number {
    return this.#byFamily[family]
  }
}
