/**
 * Turns what proves a bot (OFFENCES in core/bans.ts) into bans. Points halve every ten minutes. At BAN_AFTER points an address is
 * banned for BAN_TIME; each further ban within a day of the last one is twice as long, up to a day.
 *
 * Who is never banned so: trusted clients and relays; known clients, whom a stranger can make name unknown recipients; addresses
 * that are private, because a NAT or a balancer that is not listed shows all clients as one of them; and whom the operator has
 * pardoned.
 *
 * A network (/24, /48) is banned when at least eight of its addresses are, and they are at least three quarters of those that were
 * seen in the last hour; never one from which any good mail is remembered.
 *
 * Points are counted by each process. Whom it bans it tells the others.
 */
import { LRUCache } from 'lru-cache'
import { type Ban, type BanReason, LONGEST_AUTOMATIC_MS, OFFENCES, type Offence } from '../core/bans.ts'
import { type Client, isRelay } from '../core/client.ts'
import { isPrivate, parseNetwork, readBits } from '../core/ip.ts'
import type { Bans } from './bans.ts'

const HALF_LIFE_MS = 600_000
/** Addresses whose points are remembered, and networks whose addresses are. */
const MOST_OFFENDERS = 1 << 15
const MOST_NETS = 4096
/** Addresses of one network that are told apart. Where more are active that are not banned, it is not banned either. */
const MOST_NEIGHBOURS = 64
const ACTIVE_MS = 3_600_000
export const LEAST_OF_NET = 8
const SHARE_OF_NET = 0.75

export interface OffencesOptions {
  readonly bans: Bans
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
}

interface Offender {
  readonly points: number
  readonly at: number
}

/** When each address was last seen, or until when it is banned. An address goes by what tells it from others of its network. */
interface Neighbourhood {
  readonly seen: Map<number, number>
  readonly banned: Map<number, number>
}

type Who = Pick<Client, 'ip' | 'source' | 'net' | 'standing' | 'isRelay'>

export class Offences {
  readonly #options: OffencesOptions
  /** Made for the first offence: it takes its whole room at once. */
  #offenders: LRUCache<string, Offender> | undefined
  /** Networks in which an address is, or was lately, banned. */
  readonly #nets = new LRUCache<string, Neighbourhood>({ max: MOST_NETS })

  constructor(options: OffencesOptions) {
    this.#options = options
  }

  /** A client has connected. Costs next to nothing unless an address of its network is banned. */
  met({ ip, net }: Pick<Client, 'ip' | 'net'>): void {
    if (this.#nets.size === 0) return
    const neighbours = this.#nets.get(net)
    if (neighbours === undefined) return
    const host = hostOf(ip)
    if (neighbours.banned.has(host)) return
    if (neighbours.seen.size > MOST_NEIGHBOURS && !neighbours.seen.has(host)) return
    neighbours.seen.set(host, this.#options.now())
  }

  /** The client has done what no honest mail server does. */
  committed(client: Who, offence: Offence): void {
    const { bans, after, now } = this.#options
    const enough = after()
    if (enough === undefined || isSpared(client) || bans.isPardoned(client.ip)) return
    const { source, ip } = client
    const at = now()
    this.#offenders ??= new LRUCache({ max: MOST_OFFENDERS })
    const points = pointsAt(this.#offenders.get(source), at) + OFFENCES[offence].points
    // A part of a point has always faded between two offences.
    if (Math.round(points) < enough) {
      this.#offenders.set(source, { points, at })
      return
    }
    this.#offenders.delete(source)
    if (bans.of(ip) !== undefined) return
    this.#ban(source, offence)
    this.#banNet(client, at)
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

  #banNet({ ip, source, net }: Who, at: number): void {
    const { bans, hasGoodNeighbours } = this.#options
    const neighbours = this.#nets.get(net) ?? { seen: new Map(), banned: new Map() }
    this.#nets.set(net, neighbours)
    const { seen, banned } = neighbours
    const host = hostOf(ip)
    seen.delete(host)
    if (banned.size < MOST_NEIGHBOURS || banned.has(host)) {
      banned.set(host, bans.before(parseNetwork(source))?.until ?? at)
    }
    for (const [each, until] of banned) if (until <= at) banned.delete(each)
    for (const [each, last] of seen) if (last <= at - ACTIVE_MS) seen.delete(each)
    if (banned.size < LEAST_OF_NET || banned.size < SHARE_OF_NET * (banned.size + seen.size)) return
    if (!hasGoodNeighbours(ip)) this.#ban(net, 'network')
  }
}

const bits = new Int32Array(2)
/** Of an IPv4 address the last octet; of an IPv6 address the last 16 bits of its /64. */
function hostOf(ip: string): number {
  readBits(ip, bits)
  return (bits[1] as number) & (ip.includes(':') ? 0xffff : 0xff)
}

const isSpared = (client: Who): boolean =>
  client.standing === 'trusted' || client.standing === 'known' || isRelay(client) || isPrivate(client.ip)

const pointsAt = (offender: Offender | undefined, at: number): number =>
  offender === undefined ? 0 : offender.points * 2 ** (-Math.max(0, at - offender.at) / HALF_LIFE_MS)
