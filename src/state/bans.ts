/**
 * The bans of this node, and those that it has heard of. Bans that come by themselves and the operator's words are kept apart, so that
 * neither overwrites the other. For an address the first of these that applies decides:
 *
 *     1. the operator's word for the narrowest network with this address: banned, or pardoned
 *     2. a ban that came by itself, the narrowest first
 *
 * An entry is a whole: whoever hears of one for the same network takes the later. So it does not matter in which order, how often
 * and from whom they are heard (bans-sharing.ts, cli/workers/), and lifting a ban is an entry too: a pardon. A ban that is over is kept for a
 * day, because the next one of that address lasts twice as long.
 *
 * Both tables have a fixed number of places. When there is none for a ban that comes by itself, the one that ends first makes
 * room, of sixteen that are there longest. The operator is told that there is no room.
 */
import { type Ban, DAY_MS } from '../core/bans.ts'
import { type Network, parseNetwork } from '../core/ip.ts'
import { NetworkMap } from '../core/network-map.ts'

/** Some 30 MB when all are taken. */
export const MOST_AUTOMATIC = 1 << 15
export const MOST_OF_OPERATOR = 10_000
/** How long a ban is remembered after its end. */
export const REMEMBERED_MS = DAY_MS
/** How many are looked at to find one that makes room. */
const CANDIDATES = 16

export interface BansOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** How many bans that come by themselves have room; by default MOST_AUTOMATIC. */
  readonly room?: number
}

export type OnChange = (ban: Ban) => void

export class Bans {
  readonly #now: () => number
  readonly #room: number
  readonly #automatic = new NetworkMap<Ban>()
  readonly #operators = new NetworkMap<Ban>()
  readonly #listeners: OnChange[] = []
  #edition = 0
  #words = 0

  constructor({ now, room = MOST_AUTOMATIC }: BansOptions) {
    this.#now = now
    this.#room = room
  }

  /** Another number whenever somebody may have been banned. */
  get edition(): number {
    return this.#edition
  }

  /** Another number whenever the operator has banned or pardoned something: somebody may be banned no more. */
  get words(): number {
    return this.#words
  }

  /** The ban that holds for an address now. Costs next to nothing while nobody is banned. @param ip canonical */
  of(ip: string): Ban | undefined {
    if (this.#automatic.size + this.#operators.size === 0) return undefined
    const at = this.#now()
    const inForce = ({ until }: Ban): boolean => at < until
    const word = this.#operators.find(ip, inForce)
    if (word !== undefined) return word.kind === 'ban' ? word : undefined
    return this.#automatic.find(ip, inForce)
  }

  /** Whether the operator has said within the last day that nothing is to be banned there. */
  isPardoned(ip: string): boolean {
    const at = this.#now()
    return this.#operators.find(ip, ({ until }) => at < until)?.kind === 'pardon'
  }

  /** What came by itself for exactly this network, as far as it is remembered. */
  before(network: Network): Ban | undefined {
    const ban = this.#automatic.get(network)
    return ban === undefined || this.#isForgotten(ban) ? undefined : ban
  }

  /** The operator's word for exactly this network, if it is in force. */
  wordOn(network: Network): Ban | undefined {
    const word = this.#operators.get(network)
    return word !== undefined && this.#now() < word.until ? word : undefined
  }

  /** Whether the operator's table has a place for this network. */
  hasRoom(network: Network): boolean {
    if (this.#operators.get(network) !== undefined || this.#operators.size < MOST_OF_OPERATOR) return true
    this.#clear(this.#operators)
    return this.#operators.size < MOST_OF_OPERATOR
  }

  /**
   * Takes an entry of this node, and tells those who listen.
   * @returns whether it has changed anything
   */
  make(ban: Ban): boolean {
    if (!this.hear(ban)) return false
    for (const listener of this.#listeners) listener(ban)
    return true
  }

  /** Takes an entry that somebody else has made. */
  hear(ban: Ban): boolean {
    const network = parseNetwork(ban.network)
    const table = ban.by === 'operator' ? this.#operators : this.#automatic
    const held = table.get(network)
    if (this.#isForgotten(ban) || (held !== undefined && held.since >= ban.since)) return false
    if (ban.by === 'automatic' && this.#isUndone(network, ban.since)) return false
    if (held === undefined && !this.#makeRoom(ban)) return false
    table.set(network, ban)
    if (ban.by === 'operator') this.#words++
    if (ban.kind === 'pardon') this.#lift(network, ban.since)
    else this.#edition++
    return true
  }

  /** Called with each entry that this node makes. */
  onMade(listener: OnChange): void {
    this.#listeners.push(listener)
  }

  /** Bans in force. */
  list(): Ban[] {
    const at = this.#now()
    return this.all().filter(({ kind, until }) => kind === 'ban' && at < until)
  }

  /** How many there are in force. It looks at all of them, so it is only for the operator's gauge. */
  count(): number {
    return this.list().length
  }

  /** Everything that is remembered. */
  all(): Ban[] {
    const both = [...this.#operators.entries(), ...this.#automatic.entries()]
    return both.map(([, ban]) => ban).filter((ban) => !this.#isForgotten(ban))
  }

  #isForgotten({ until }: Ban): boolean {
    return this.#now() >= until + REMEMBERED_MS
  }

  /** What came by itself in a pardoned network before the pardon is undone, and does not count as a ban before the next one. */
  #lift(pardoned: Network, at: number): void {
    const within = new NetworkMap<true>()
    within.set(pardoned, true)
    const isWithin = ({ bits, first, family }: Network): boolean =>
      family === pardoned.family && bits >= pardoned.bits && within.find(first, () => true) === true
    for (const [network, { since }] of [...this.#automatic.entries()]) {
      if (since <= at && isWithin(network)) this.#automatic.delete(network)
    }
  }

  /** Whether the operator has pardoned the network since. */
  #isUndone({ first }: Network, since: number): boolean {
    const at = this.#now()
    const word = this.#operators.find(first, ({ until }) => at < until)
    return word?.kind === 'pardon' && since <= word.since
  }

  #makeRoom({ by }: Ban): boolean {
    if (by === 'operator') {
      if (this.#operators.size >= MOST_OF_OPERATOR) this.#clear(this.#operators)
      return this.#operators.size < MOST_OF_OPERATOR
    }
    if (this.#automatic.size < this.#room) return true
    let first: readonly [Network, Ban] | undefined
    let seen = 0
    for (const entry of this.#automatic.entries()) {
      if (first === undefined || entry[1].until < first[1].until) first = entry
      if (++seen === CANDIDATES) break
    }
    if (first !== undefined) this.#automatic.delete(first[0])
    return true
  }

  #clear(table: NetworkMap<Ban>): void {
    const at = this.#now()
    for (const [network, ban] of [...table.entries()]) if (at >= ban.until) table.delete(network)
  }
}
