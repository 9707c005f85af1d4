/**
 * What came within the last minutes from the known clients of each network (/24, /48): how many messages were good, and how many bad. A client's
 * own past (past.ts) is slow to change its mind, and rightly so. But where many addresses of a network have a good past each and turn bad
 * together (snowshoe), each of them could spend it by itself. overload/standing.ts says from when on such a network has turned.
 *
 * - Of a network the latest messages weigh MEMORY together at most, so that what it was worth before is soon outweighed, and each weighs half
 *   as much HALF_MS later: what it has done is forgotten within minutes.
 * - A bad address counts once, however much it sends, until FORGOTTEN_MS after its last bad message. No more than ADDRESSES are told apart.
 * - Of an address the good messages count that it has sent since its last bad one.
 *
 * Only clients that their own mail has made known are noted, so strangers fill nothing here. Of a network that sends spam as ever none is known, and
 * whoever is known beside it is not held for it. There is room for NETS and SOURCES; those that have been silent for longest
 * make room. Each process knows what came through it.
 */
import { LRUCache } from 'lru-cache'

/** How many of its latest messages a network is judged by. */
const MEMORY = 50
export const HALF_MS = 300_000
/** After so long a message weighs next to nothing. */
export const FORGOTTEN_MS = 4 * HALF_MS
/** Bad addresses that are told apart. */
const ADDRESSES = 3
const NETS = 1 << 14
const SOURCES = 1 << 16

/** What came lately from a network, as it weighs now, and from one address of it. */
export interface Latest {
  /** Good and bad messages of its known clients. */
  readonly good: number
  readonly bad: number
  /** Addresses of them that a bad one came from: 3 at most are counted. */
  readonly badAddresses: number
  /** Good messages of the address itself since its last bad one. */
  readonly ownGood: number
}

export const NO_LATEST: Latest = { good: 0, bad: 0, badAddresses: 0, ownGood: 0 }

interface OfNet {
  good: number
  bad: number
  /** When the two weighed what they say. */
  at: number
  /** Source and time of the last bad message, of the latest bad addresses. */
  readonly addresses: Map<string, number>
}

interface OfSource {
  good: number
  at: number
}

export interface LatestMailOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Among how many processes the room is divided; 1 by default. */
  readonly processes?: number
}

const fading = (ms: number): number => 2 ** (-Math.max(0, ms) / HALF_MS)

export class LatestMail {
  readonly #now: () => number
  readonly #processes: number
  /** Made when there is something to note: it takes its whole room at once. */
  #noted: { readonly nets: LRUCache<string, OfNet>; readonly sources: LRUCache<string, OfSource> } | undefined

  constructor({ now, processes = 1 }: LatestMailOptions) {
    this.#now = now
    this.#processes = processes
  }

  /** A known client has sent a message. One that is neither good nor bad says nothing. */
  note({ source, net }: { readonly source: string; readonly net: string }, kind: 'good' | 'bad'): void {
    const now = this.#now()
    this.#noted ??= {
      nets: new LRUCache({ max: Math.ceil(NETS / this.#processes) }),
      sources: new LRUCache({ max: Math.ceil(SOURCES / this.#processes) }),
    }
    const { nets, sources } = this.#noted
    const of = nets.get(net) ?? { good: 0, bad: 0, at: now, addresses: new Map() }
    const faded = fading(now - of.at)
    const all = (of.good + of.bad) * faded
    const kept = faded * Math.min(1, (MEMORY - 1) / all)
    of.good = of.good * kept + (kind === 'good' ? 1 : 0)
    of.bad = of.bad * kept + (kind === 'bad' ? 1 : 0)
    of.at = now
    if (kind === 'bad') noteAddress(of.addresses, source, now)
    nets.set(net, of)
    const own = sources.get(source)
    if (kind === 'good') sources.set(source, { good: this.#ownGood(own, now) + 1, at: now })
    else sources.delete(source)
  }

  of({ source, net }: { readonly source: string; readonly net: string }): Latest {
    const of = this.#noted?.nets.peek(net)
    if (of === undefined) return NO_LATEST
    const now = this.#now()
    const faded = fading(now - of.at)
    let badAddresses = 0
    for (const at of of.addresses.values()) if (now - at < FORGOTTEN_MS) badAddresses++
    const ownGood = this.#ownGood(this.#noted?.sources.peek(source), now)
    return { good: of.good * faded, bad: of.bad * faded, badAddresses, ownGood }
  }

  #ownGood(own: OfSource | undefined, now: number): number {
    return own === undefined ? 0 : own.good * fading(now - own.at)
  }
}

/** The latest come last. */
function noteAddress(addresses: Map<string, number>, source: string, now: number): void {
  addresses.delete(source)
  addresses.set(source, now)
  const [oldest] = addresses.keys()
  if (addresses.size > ADDRESSES && oldest !== undefined) addresses.delete(oldest)
}
