/**
 * Turns what proves a bot (OFFENCES in core/bans.ts) into bans. At BAN_AFTER points (points.ts) an address is banned for BAN_TIME; each
 * further ban within a day of the last one is twice as long, up to a day.
 *
 * Who is never banned so: trusted clients and relays; known clients, whom a stranger can make name unknown recipients; addresses
 * that are private, because a NAT or a balancer that is not listed shows all clients as one of them (of 127.0.0.0/8 that is 127.0.0.1;
 * the others are the clients of a test); those that several senders share (shared-addresses.ts); and whom the operator has pardoned.
 *
 * A network (/24, /48) is banned when at least eight of its addresses are, and they are at least three quarters of those that are
 * active (active-networks.ts); never one from which any good mail is remembered.
 *
 * Points that were given elsewhere count here. A ban is made where the last of them were given: at once if that is known by then,
 * otherwise when the record of them comes back. Other processes hear of it.
 */
import { type Ban, type BanReason, LONGEST_AUTOMATIC_MS, type Offence } from '../core/bans.ts'
import { type Client, isRelay } from '../core/client.ts'
import { mayBeAnybody, netOf, parseNetwork, THIS_MACHINE } from '../core/ip.ts'
import { ActiveNetworks } from './active-networks.ts'
import type { Bans } from './bans.ts'
import type { Points } from './points.ts'
import type { SharedAddresses } from './shared-addresses.ts'

export interface OffencesOptions {
  readonly bans: Bans
  readonly points: Points
  readonly addresses: SharedAddresses
  /** BAN_AFTER as it is set now; undefined: nobody is banned by itself. */
  readonly after: () => number | undefined
  /** BAN_TIME as it is set now, in milliseconds. */
  readonly banMs: () => number
  /** Whether good mail is remembered from the network of this address. */
  readonly hasGoodNeighbours: (ip: string) => boolean
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Called with each ban, and what it was for. */
  readonly banned: (ban: Ban, reason: BanReason) => void
  /** Called each time an address that several senders share got no points, or no ban. */
  readonly spared: (ip: string) => void
}

type Who = Pick<Client, 'ip' | 'source' | 'standing' | 'isRelay'>

export class Offences {
  readonly #options: OffencesOptions
  readonly #networks = new ActiveNetworks()

  constructor(options: OffencesOptions) {
    const { bans, points } = options
    this.#options = options
    bans.onHeld((ban) => this.#held(ban))
    points.onReturned(({ source, offence }, before, after) => {
      // Otherwise whoever has told the one before has banned it.
      if (Math.round(before) < (options.after() ?? 0)) this.#judge(source, after, offence)
    })
  }

  /** A client has connected. */
  met({ ip, net }: Pick<Client, 'ip' | 'net'>): void {
    if (this.#options.after() !== undefined) this.#networks.met(net, ip, this.#options.now())
  }

  /** A mail server has accepted a message of the client. */
  served({ source }: Pick<Client, 'source'>, helo: string): void {
    if (this.#options.after() !== undefined) this.#options.addresses.served(source, helo)
  }

  /** The client has done what no honest mail server does. */
  committed(client: Who, offence: Offence): void {
    const { bans, points, after, addresses, spared } = this.#options
    const { ip, source } = client
    if (after() === undefined || isSpared(client) || bans.isPardoned(ip) || bans.of(ip) !== undefined) return
    if (addresses.has(source)) spared(ip)
    else this.#judge(source, points.give(source, offence), offence)
  }

  /** Bans the source if it has points enough. A part of a point has always faded between two offences. */
  #judge(source: string, points: number, offence: Offence): void {
    const { bans, after, addresses, hasGoodNeighbours, now, spared } = this.#options
    const enough = after()
    if (enough === undefined || Math.round(points) < enough) return
    const network = parseNetwork(source)
    const ip = network.first
    if (bans.of(ip) !== undefined || bans.isPardoned(ip)) return
    // It may have shown since the points were given.
    if (addresses.has(source)) {
      spared(ip)
      return
    }
    this.#ban(source, offence)
    const net = netOf(ip)
    if (net !== netOf(THIS_MACHINE) && this.#networks.isOfBots(net, now()) && !hasGoodNeighbours(ip))
      this.#ban(net, 'network')
  }

  #ban(text: string, reason: BanReason): void {
    const { bans, banMs, now, banned } = this.#options
    const network = parseNetwork(text)
    const last = bans.before(network)
    const before = last === undefined ? 0 : last.before + 1
    const since = now()
    const until = since + Math.min(LONGEST_AUTOMATIC_MS, banMs() * 2 ** Math.min(before, 30))
    const ban: Ban = { network: network.text, kind: 'ban', by: 'automatic', reason, since, until, before }
    if (bans.make(ban)) banned(ban, reason)
  }

  /** Somebody was banned by itself, here or elsewhere. */
  #held({ network, by, reason, since, until }: Ban): void {
    const { points, after, now } = this.#options
    if (by !== 'automatic' || reason === 'network' || after() === undefined || until <= now()) return
    const [ip = '', bits] = network.split('/')
    points.spend(bits === '64' ? network : ip, since)
    this.#networks.ban(ip, until)
  }
}

const isSpared = (client: Who): boolean =>
  client.standing === 'trusted' || client.standing === 'known' || isRelay(client) || mayBeAnybody(client.ip)
