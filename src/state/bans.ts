/**
 * The bans of this node, and those that it has heard of. Bans that come by themselves, the operator's words about bans, and what the
 * operator allows are kept apart, so that none overwrites another. For an address the first of these that applies decides:
 *
 *     1. what the operator allows, for any network with this address
 *     2. the operator's word for the narrowest network with this address: banned, or pardoned
 *     3. a ban that came by itself, the narrowest first
 *
 * An entry is a whole: whoever hears of one for the same network takes the later. So it does not matter in which order, how often and from
 * whom they are heard (bans-sharing.ts, cli/workers/), and lifting a ban is an entry too: a pardon. A ban that is over is kept for a day,
 * because the next one of that address lasts twice as long.
 *
 * All tables have a fixed number of places. When there is none for a ban that comes by itself, the one that ends first makes
 * room, of sixteen that are there longest. The operator is told that there is no room.
 */
import type { Ban } from '../core/bans.ts'
import { type Network, parseNetwork } from '../core/ip.ts'
import { NetworkMap } from '../core/network-map.ts'
import { DAY_MS } from '../core/time.ts'

/** Some 30 MB when all are taken. */
export const MOST_AUTOMATIC = 1 << 15
export const MOST_OF_OPERATOR = 10_000
export const MOST_ALLOWED = 10_000
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
  readonly #allowed = new NetworkMap<Ban>()
  readonly #listeners: OnChange[] = []
  readonly #holders: OnChange[] = []
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
    if (this.#automatic.size + this.#operators.size === 0 || this.isAllowed(ip)) return undefined
    const at = this.#now()
    const inForce = ({ until }: Ban): boolean => at < until
    const word = this.#operators.find(ip, inForce)
    if (word !== undefined) return word.kind === 'ban' ? word : undefined
    return this.#automatic.find(ip, inForce)
  }

  /** Whether the operator allows an address at present. Costs next to nothing while nothing is allowed. @param ip canonical */
  isAllowed(ip: string): boolean {
    if (this.#allowed.size === 0) return false
    const at = this.#now()
    return this.#allowed.find(ip, ({ until }) => at < until) !== undefined
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

  /** What the operator allows for exactly this network, if it is in force. */
  allowedOn(network: Network): Ban | undefined {
    const word = this.#allowed.get(network)
    return word !== undefined && this.#now() < word.until ? word : undefined
  }

  /** What the operator allows that has an address in common with a network. */
  allowedIn(network: Network): Ban | undefined {
    const at = this.#now()
    const around = this.#allowed.find(network.first, ({ until }) => at < until)
    if (around !== undefined) return around
    const isWithin = within(network)
    for (const [each, word] of this.#allowed.entries()) if (at < word.until && isWithin(each)) return word
    return undefined
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
    const table = this.#tableOf(ban)
    const held = table.get(network)
    if (this.#isForgotten(ban) || (held !== undefined && held.since >= ban.since)) return false
    if (ban.by === 'automatic' && this.#isUndone(network, ban.since)) return false
    if (held === undefined && !this.#makeRoom(ban)) return false
    table.set(network, ban)
    if (ban.by === 'operator') this.#words++
    if (ban.kind === 'pardon') this.#lift(network, ban.since)
    else this.#edition++
    for (const holder of this.#holders) holder(ban)
    return true
  }

  /** Called with each entry that this node makes. */
  onMade(listener: OnChange): void {
    this.#listeners.push(listener)
  }

  /** Called with each entry that is taken, whoever has made it. */
  onHeld(holder: OnChange): void {
    this.#holders.push(holder)
  }

  /** Bans in force. */
  list(): Ban[] {
    const at = this.#now()
    return this.all().filter(({ kind, until }) => kind === 'ban' && at < until)
  }

  /** What the operator allows at present. */
  allowed(): Ban[] {
    const at = this.#now()
    return this.all().filter(({ kind, until }) => kind === 'allow' && at < until)
  }

  /** How many bans there are in force. It looks at all of them, so it is only for the operator's gauge. */
  count(): number {
    return this.list().length
  }

  /** Everything that is remembered. */
  all(): Ban[] {
    const tables = [...this.#allowed.entries(), ...this.#operators.entries(), ...this.#automatic.entries()]
    return tables.map(([, ban]) => ban).filter((ban) => !this.#isForgotten(ban))
  }

  #tableOf({ kind, by }: Ban): NetworkMap<Ban> {
    if (kind === 'allow') return this.#allowed
    return by === 'operator' ? this.#operators : this.#automatic
  }

  #isForgotten({ until }: Ban): boolean {
    return this.#now() >= until + REMEMBERED_MS
  }

  /** What came by itself in a pardoned network before the pardon is undone, and does not count as a ban before the next one. */
  #lift(pardoned: Network, at: number): void {
    const isWithin = within(pardoned)
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

  #makeRoom(ban: Ban): boolean {
    if (ban.by === 'operator') {
      const table = this.#tableOf(ban)
      const most = ban.kind === 'allow' ? MOST_ALLOWED : MOST_OF_OPERATOR
      if (table.size >= most) this.#clear(table)
      return table.size < most
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

/** Whether a network is in another one, or is the same. */
function within(outer: Network): (network: Network) => boolean {
  const map = new NetworkMap<true>()
  map.set(outer, true)
  return ({ bits, first, family }) =>
    family === outer.family && bits >= outer.bits && map.find(first, () => true) === true
}
