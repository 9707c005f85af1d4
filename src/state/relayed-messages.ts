/**
 * Which client a message came from, by the id that the mail server gave it in its reply to the dot: so that somebody who
 * finds spam in a mailbox can say so of the message, and need not look for the address. A node remembers the messages that
 * went through it, for a day at most: mail servers use short ids again.
 *
 * A table of fixed size: an id belongs to one set of sixteen places, and takes the one that was taken first when the set
 * is full. A message takes 20 bytes; of its id there are 64 bits of a hash.
 */
import { hash } from 'node:crypto'
import { addressOf, readBits } from '../core/ip.ts'

/** The messages of a busy day of a small cluster, in 10 MB; divided among the workers of a node. */
export const MESSAGES = 1 << 19
const WAYS = 16
/** One place is five 32-bit words: the hash, the address, and when it came with what it counts as. */
const PLACE = 5
const SET = WAYS * PLACE
const MINUTE_MS = 60_000
export const DAY_MINUTES = 1440

/**
 * What a message counts as: good; bad, because its reply said so; spam, which counted as good before; nothing, such as mail for
 * postmaster. 0 is an empty place.
 */
const COUNTS = ['', 'good', 'bad', 'spam', 'nothing'] as const
/** The lower bits say what it counts as, the others have the minute. */
const MINUTE_SHIFT = 3
const COUNTS_MASK = (1 << MINUTE_SHIFT) - 1
export type CountsAs = Exclude<(typeof COUNTS)[number], ''>

export interface RelayedMessage {
  /** Of its client, or the lowest of the /64. */
  readonly address: string
  readonly countsAs: CountsAs
}

export class RelayedMessages {
  readonly #sets: number
  readonly #words: Int32Array
  readonly #now: () => number
  readonly #bits = new Int32Array(2)

  /** @param capacity how many messages have room, rounded up to a multiple of 16 @param now milliseconds since the epoch */
  constructor(capacity: number, now: () => number) {
    this.#sets = Math.ceil(capacity / WAYS)
    this.#words = new Int32Array(this.#sets * SET)
    this.#now = now
  }

  /** @param ip of the client, canonical */
  add(queueId: string, ip: string, countsAs: CountsAs): void {
    const bits = this.#bits
    if (!readBits(ip, bits)) return
    const [high, low, first] = this.#placeOf(queueId)
    const words = this.#words
    let at = first
    for (let each = first; each < first + SET; each += PLACE) {
      if (words[each] === high && words[each + 1] === low) {
        at = each
        break
      }
      if (words[each + 4]! < words[at + 4]!) at = each
    }
    words.set([high, low, bits[0]!, bits[1]!, this.#stamp(countsAs)], at)
  }

  get(queueId: string): RelayedMessage | undefined {
    const at = this.#find(queueId)
    if (at === undefined) return undefined
    const words = this.#words
    const countsAs = COUNTS[words[at + 4]! & COUNTS_MASK]
    if (countsAs === undefined || countsAs === '') return undefined
    return { address: addressOf(words[at + 2]!, words[at + 3]!), countsAs }
  }

  /** From now on it counts as this. Its time stays. */
  change(queueId: string, countsAs: CountsAs): void {
    const at = this.#find(queueId)
    if (at !== undefined) this.#words[at + 4] = (this.#words[at + 4]! & ~COUNTS_MASK) | COUNTS.indexOf(countsAs)
  }

  #find(queueId: string): number | undefined {
    const [high, low, first] = this.#placeOf(queueId)
    const words = this.#words
    for (let at = first; at < first + SET; at += PLACE) {
      if (words[at] !== high || words[at + 1] !== low || words[at + 4] === 0) continue
      return this.#minute() - (words[at + 4]! >>> MINUTE_SHIFT) < DAY_MINUTES ? at : undefined
    }
    return undefined
  }

  /** Minutes since 1970 fit in 28 bits until the year 2480. */
  #stamp(countsAs: CountsAs): number {
    return (this.#minute() << MINUTE_SHIFT) | COUNTS.indexOf(countsAs)
  }

  #minute(): number {
    return Math.floor(this.#now() / MINUTE_MS)
  }

  #placeOf(queueId: string): readonly [high: number, low: number, first: number] {
    const digest = hash('sha256', queueId, 'buffer')
    return [digest.readInt32LE(0), digest.readInt32LE(4), (digest.readUInt32LE(8) % this.#sets) * SET]
  }
}
