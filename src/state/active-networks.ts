/**
 * Which addresses of a network (/24, /48) are active, and which of them are banned, so that a network is banned only where nearly all
 * that comes from it is a bot (offences.ts). Active is whoever has connected to this process within this hour or the one before,
 * whatever became of it: one that was served counts as much as one that was refused. Of bans it counts those of all processes, for
 * addresses that have come to this one.
 *
 * Both tables have a fixed number of places; the network that was met longest ago makes room. An address goes by what tells it from
 * others of its network. Of a /48 there are 256 places for those that are active, and whoever shares one counts as one; but of those
 * that are banned no more than 64 are told apart.
 */
import { LRUCache } from 'lru-cache'
import { countOfBits } from '../core/bits.ts'
import { netOf, readBits } from '../core/ip.ts'
import { hourOf } from '../core/time.ts'

/** Networks whose active addresses are known: some 10 MB when all are taken. */
const MOST_ACTIVE = 1 << 15
/** Networks in which an address is, or was lately, banned. */
const MOST_NETS = 4096
const MOST_BANNED = 64
/** A network is banned when so many of its addresses are, and they are this share of those that are active. */
export const LEAST_OF_NET = 8
const SHARE_OF_NET = 0.75

/** Words of 32 addresses. Those of the hour that the first word of an entry says come first, then those of the hour before. */
const WORDS = 8

export class ActiveNetworks {
  /** Both are made when they are needed: they take their whole room at once. */
  #active: LRUCache<string, Uint32Array> | undefined
  /** By network, until when each address is banned. */
  #banned: LRUCache<string, Map<number, number>> | undefined

  /** An address has connected. @param at milliseconds since the epoch, as everywhere here */
  met(net: string, ip: string, at: number): void {
    this.#active ??= new LRUCache({ max: MOST_ACTIVE })
    let hosts = this.#active.get(net)
    if (hosts === undefined) {
      hosts = new Uint32Array(1 + 2 * WORDS)
      hosts[0] = hourOf(at)
      this.#active.set(net, hosts)
    } else turn(hosts, hourOf(at))
    const host = hostOf(ip) & 0xff
    hosts[1 + (host >>> 5)]! |= 1 << (host & 31)
  }

  /** An address is banned, here or elsewhere. */
  ban(ip: string, until: number): void {
    this.#banned ??= new LRUCache({ max: MOST_NETS })
    const net = netOf(ip)
    const banned = this.#banned.get(net) ?? new Map<number, number>()
    this.#banned.set(net, banned)
    const host = hostOf(ip)
    if (banned.size < MOST_BANNED || banned.has(host)) banned.set(host, until)
  }

  /** Whether nearly all that comes from a network is banned. */
  isOfBots(net: string, at: number): boolean {
    const hosts = this.#active?.get(net)
    const banned = this.#banned?.get(net)
    if (hosts === undefined || banned === undefined) return false
    turn(hosts, hourOf(at))
    let count = 0
    // Several that are banned may share a place among those that are active.
    const places = new Set<number>()
    for (const [host, until] of banned) {
      if (until <= at) banned.delete(host)
      else if (isActive(hosts, host & 0xff)) {
        count++
        places.add(host & 0xff)
      }
    }
    return count >= LEAST_OF_NET && places.size >= SHARE_OF_NET * sizeOf(hosts)
  }
}

const bits = new Int32Array(2)
/** Of an IPv4 address the last octet; of an IPv6 address the last 16 bits of its /64. */
function hostOf(ip: string): number {
  readBits(ip, bits)
  return (bits[1] as number) & (ip.includes(':') ? 0xffff : 0xff)
}

/** A clock that was set back makes nobody active for longer. */
function turn(hosts: Uint32Array, hour: number): void {
  const passed = hour - (hosts[0] as number)
  if (passed === 0) return
  if (passed === 1) hosts.copyWithin(1 + WORDS, 1, 1 + WORDS)
  else hosts.fill(0, 1 + WORDS)
  hosts.fill(0, 1, 1 + WORDS)
  hosts[0] = hour
}

const wordOf = (hosts: Uint32Array, i: number): number => (hosts[1 + i] as number) | (hosts[1 + WORDS + i] as number)

const isActive = (hosts: Uint32Array, host: number): boolean => ((wordOf(hosts, host >>> 5) >>> (host & 31)) & 1) === 1

function sizeOf(hosts: Uint32Array): number {
  let size = 0
  for (let i = 0; i < WORDS; i++) size += countOfBits(wordOf(hosts, i))
  return size
}
