/**
 * The open connections of this node: in total, by address family, by source, by neighbourhood, and those of strangers. A seat is
 * taken at accept, and its holder frees it. The tables have one entry for each source and each neighbourhood that has a connection
 * open, so that MAX_CONNECTIONS bounds them.
 *
 * Nobody with a /24 or a /48 takes them all. The strangers of a neighbourhood may hold half of what all other strangers leave of
 * their part (overload/reserve.ts), and its friends half of what everybody else leaves:
 *
 *     held ≤ max(LEAST_OF_NET, ⌊(seats there are for such clients − those that others hold) / 2⌋)
 *
 * The two are counted apart, so that a crowd of strangers never locks out a known client beside it. Relays (SPILLWAY_RELAYS) are
 * one source and one neighbourhood, wherever they are: that is their budget. Trusted clients are exempt.
 *
 * One greedy neighbourhood gets half, two get a third each, and k of them leave a part of 1 / (k + 1) to everybody else. It is
 * the rule that switches share their memory among queues by (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
 * Shared-Memory Packet Switches", 1998, with α = 1).
 */
import { type Client, isFriend, isRelay, isTrusted, type OpenCounts } from '../core/client.ts'

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
 * How many seats such clients of the neighbourhood have, and may have, if they have too many.
 * @param max MAX_CONNECTIONS @param strangersMost how many of them strangers may hold together; asked only where it matters
 */
export function crowdOf(
  client: Pick<Client, 'standing'>,
  open: OpenCounts,
  max: number,
  strangersMost: () => number,
): { used: number; max: number } | undefined {
  if (open.net <= LEAST_OF_NET || isTrusted(client)) return undefined
  const most = isFriend(client)
    ? mostOfNet(max, open.total, open.net)
    : mostOfNet(strangersMost(), open.strangers, open.net)
  return open.net > most ? { used: open.net, max: most } : undefined
}

/** Seats of one neighbourhood. */
interface OfNet {
  strangers: number
  friends: number
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
  readonly #byNet = new Map<string, OfNet>()
  readonly #byFamily = { 4: 0, 6: 0 }
  #total = 0
  #strangers = 0

  take(client: Pick<Client, 'source' | 'net' | 'family' | 'standing' | 'isRelay'>): Seat {
    const { family } = client
    const { source, net } = isRelay(client) ? OF_RELAYS : client
    const kind = isFriend(client) ? 'friends' : 'strangers'
    const stranger = kind === 'strangers' ? 1 : 0
    const ofSource = count(this.#bySource, source, 1)
    const ofNet = this.#ofNet(net)
    ofNet[kind]++
    this.#byFamily[family]++
    this.#total++
    this.#strangers += stranger
    let taken = true
    return {
      open: { source: ofSource, net: ofNet[kind], strangers: this.#strangers, total: this.#total },
      free: () => {
        if (!taken) return
        taken = false
        this.#total--
        this.#strangers -= stranger
        this.#byFamily[family]--
        count(this.#bySource, source, -1)
        ofNet[kind]--
        if (ofNet.friends + ofNet.strangers === 0) this.#byNet.delete(net)
      },
    }
  }

  #ofNet(net: string): OfNet {
    let ofNet = this.#byNet.get(net)
    if (ofNet === undefined) {
      ofNet = { strangers: 0, friends: 0 }
      this.#byNet.set(net, ofNet)
    }
    return ofNet
  }

  /** How many there would be with one more of this client. Nothing is taken. */
  peek(client: Pick<Client, 'source' | 'net' | 'standing' | 'isRelay'>): OpenCounts {
    const { source, net } = isRelay(client) ? OF_RELAYS : client
    const isOfFriends = isFriend(client)
    const ofNet = this.#byNet.get(net)?.[isOfFriends ? 'friends' : 'strangers'] ?? 0
    return {
      source: (this.#bySource.get(source) ?? 0) + 1,
      net: ofNet + 1,
      strangers: this.#strangers + (isOfFriends ? 0 : 1),
      total: this.#total + 1,
    }
  }

  get total(): number {
    return this.#total
  }

  /** How many are taken by each neighbourhood that has any. */
  *ofNets(): Iterable<number> {
    for (const { strangers, friends } of this.#byNet.values()) yield strangers + friends
  }

  ofFamily(family: 4 | 6): number {
    return this.#byFamily[family]
  }
}
