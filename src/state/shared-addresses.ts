/**
 * Addresses that several senders share: a balancer that is not listed, or a NAT. Who bans one of these bans everybody behind it. They
 * show by their names: mail servers have one name in HELO, and here several of them have brought messages that the mail servers
 * accepted. A bot can have that too, once it has had as many messages accepted under different names: it is then not banned by itself, and
 * each check refuses it as before.
 *
 * Processes tell each other of these names together with the points of offenders (offence-news.ts), so that an address whose few
 * messages are spread over many processes shows at each of them. A name is told once in six hours, and of an address no more names than
 * are looked for.
 *
 * Only hashes of names are kept, for a fixed number of addresses; the one that brought mail longest ago makes room.
 */
import { hash as oneShot } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { firstOf, netOf } from '../core/ip.ts'
import { HOUR_MS } from '../core/time.ts'

/** So many names make an address one of several senders. */
export const NAMES = 3
/** How long a name counts after its last message. */
const NAME_MS = 24 * HOUR_MS
/** A name that goes on bringing mail is told again. */
const AGAIN_MS = 6 * HOUR_MS
const MOST_ADDRESSES = 1 << 14
/** Names that others are told of each second, of all networks and of one. */
export const MOST_TOLD = 1024
export const MOST_OF_NET = 32

/** What one process tells the others: under this name a message was accepted from this source. */
export interface ServedName {
  /** An IPv4 address, or an IPv6 /64 (`2001:db8:1:2::/64`). */
  readonly source: string
  /** The first 32 bits of a hash of the name. */
  readonly name: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

interface Served {
  /** When its last message was accepted. */
  readonly last: number
  /** When it was told, here or elsewhere. */
  readonly told: number
}

export interface SharedAddressesOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export class SharedAddresses {
  readonly #now: () => number
  /** Made when it is needed: it takes its whole room at once. */
  #served: LRUCache<string, ReadonlyMap<number, Served>> | undefined
  #untold: ServedName[] | undefined
  readonly #toldOfNet = new Map<string, number>()

  constructor({ now }: SharedAddressesOptions) {
    this.#now = now
  }

  /** A mail server has accepted a message. */
  served(source: string, helo: string): void {
    const at = this.#now()
    const name = oneShot('sha256', helo.toLowerCase(), 'buffer').readUInt32LE()
    const names = this.#of(source)
    // Where others know as many as are looked for, one more is no news.
    const told =
      names.get(name)?.told ?? (names.size < NAMES ? 0 : Math.min(...[...names.values()].map((each) => each.told)))
    const isDue = Math.abs(at - told) >= AGAIN_MS && this.#tell({ source, name, at })
    this.#note(source, name, { last: at, told: isDue ? at : told })
  }

  /** Whether several senders have it. */
  has(source: string): boolean {
    const names = this.#served?.get(source)
    if (names === undefined || names.size < NAMES) return false
    const at = this.#now()
    return [...names.values()].every(({ last }) => at - last < NAME_MS)
  }

  /** From now on names are kept for other processes, until they are taken. */
  share(): void {
    this.#untold ??= []
  }

  takeUntold(): readonly ServedName[] {
    const taken = this.#untold ?? []
    if (taken.length > 0) this.#untold = []
    this.#toldOfNet.clear()
    return taken
  }

  /** Some process has told this; each hears its own as well. What comes from the future has happened now. */
  hear({ source, name, at }: ServedName): void {
    const now = this.#now()
    if (at <= now - NAME_MS) return
    const before = this.#of(source).get(name)
    const last = Math.max(before?.last ?? 0, Math.min(at, now))
    this.#note(source, name, { last, told: Math.max(before?.told ?? 0, last) })
  }

  #of(source: string): ReadonlyMap<number, Served> {
    return this.#served?.get(source) ?? NO_NAMES
  }

  /** Of one more than are looked for the oldest goes. */
  #note(source: string, name: number, served: Served): void {
    this.#served ??= new LRUCache({ max: MOST_ADDRESSES })
    const others = [...this.#of(source)].filter(([each]) => each !== name)
    const names = [...others, [name, served] as const].sort(([, a], [, b]) => a.last - b.last)
    this.#served.set(source, new Map(names.slice(-NAMES)))
  }

  /** @returns whether others will hear of it */
  #tell(served: ServedName): boolean {
    const untold = this.#untold
    if (untold === undefined || untold.length >= MOST_TOLD) return false
    const net = netOf(firstOf(served.source))
    const ofNet = this.#toldOfNet.get(net) ?? 0
    if (ofNet >= MOST_OF_NET) return false
    this.#toldOfNet.set(net, ofNet + 1)
    untold.push(served)
    return true
  }
}

const NO_NAMES: ReadonlyMap<number, Served> = new Map()
