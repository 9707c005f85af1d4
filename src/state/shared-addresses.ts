/**
 * Addresses that several senders share: a balancer that is not listed, or a NAT. Who bans one of these bans everybody behind it. They
 * show by their names: mail servers have one name in HELO, and here several of them have brought messages that the mail servers
 * accepted. A bot can have that too, once it has had as many messages accepted under different names: it is then not banned by itself, and
 * each check refuses it as before.
 *
 * Only hashes of names are kept, for a fixed number of addresses; the one that brought mail longest ago makes room.
 */
import { hash as oneShot } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** So many names make an address one of several senders. */
export const NAMES = 3
/** How long a name counts after its last message. */
const NAME_MS = 24 * 3_600_000
const MOST_ADDRESSES = 1 << 13

export class SharedAddresses {
  #served: LRUCache<string, Map<string, number>> | undefined

  /** A mail server has accepted a message. @param at milliseconds since the epoch, as everywhere here */
  served(source: string, helo: string, at: number): void {
    this.#served ??= new LRUCache({ max: MOST_ADDRESSES })
    const names = this.#served.get(source) ?? new Map<string, number>()
    this.#served.set(source, names)
    const name = oneShot('sha256', helo.toLowerCase(), 'base64').slice(0, 12)
    names.delete(name)
    const [oldest] = names.keys()
    if (names.size >= NAMES && oldest !== undefined) names.delete(oldest)
    names.set(name, at)
  }

  /** Whether several senders have it. */
  has(source: string, at: number): boolean {
    const names = this.#served?.get(source)
    if (names === undefined || names.size < NAMES) return false
    return [...names.values()].every((last) => at - last < NAME_MS)
  }
}
