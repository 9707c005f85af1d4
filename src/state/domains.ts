/**
 * What is remembered of organisational domains (dns/organisation.ts): how the addresses behaved whose forward-confirmed names are in
 * them. So a new address of a big provider is no stranger. overload/standing.ts says what follows.
 *
 * As a neighbourhood does, a domain counts addresses, each at most once a day. It also remembers how widely its good mail came, as a
 * set of 28 buckets into which the networks (/24, /48) fall: two networks may share a bucket, so what is counted is never
 * too much. A domain is kept by 64 bits of SHA-256 of its name: nobody finds a name that is taken for another, and all nodes have
 * the same key.
 *
 * A domain with no good mail is not remembered: nothing would follow from it. One with good mail from several networks behind it
 * is never pushed out by those without.
 */
import { hash } from 'node:crypto'
import { countOfBits } from '../core/bits.ts'
import { netBits, readBits } from '../core/ip.ts'
import { aged, BUCKETS, type Lesson, lessonAt, NET_MEMORY, type Past, untilNow } from './past.ts'
import { type MemoryOptions, PastTable } from './past-table.ts'
import { bitsIn, digitsOf } from './past-text.ts'
import { type Untold, UntoldNotes, withUntold } from './untold.ts'

/** What a domain needs to be worth more than others: addresses with good mail, each day anew, and networks that they are in. */
export const GOOD_ADDRESSES = 20
export const GOOD_NETS = 3

/** In at least so many networks good mail has come from a domain. */
export const netsOf = ({ buckets = 0 }: Past): number => countOfBits(buckets)

export const isDomainKey = (key: string): boolean => key.startsWith('d')

export class Domains {
  readonly #table: PastTable
  readonly #untold = new UntoldNotes()
  readonly #bits = new Int32Array(2)
  #isShared = false

  constructor(options: MemoryOptions) {
    const isWide = (past: Past): boolean => past.good >= GOOD_ADDRESSES && netsOf(past) >= GOOD_NETS
    this.#table = new PastTable({ ...options, worthOf: (past) => (isWide(past) ? 2 : 1), bucketSets: 1 })
  }

  /** What is remembered of a domain, as it weighs now. @param domain in lower case */
  of(domain: string): Past {
    const [high, low] = bitsOf(domain)
    return aged(this.#table.get(high, low), this.#table.hour)
  }

  /**
   * An address of this domain has sent mail, for the first time today.
   * @param ip canonical @param lesson of the address: 0 or 1 each @param came as in lessonAt
   */
  learn(domain: string, ip: string, lesson: Lesson, came?: number): void {
    const [high, low] = bitsOf(domain)
    const now = this.#table.hour
    const { hour, rule } = lessonAt(now, came)
    const before = untilNow(this.#table.get(high, low), now)
    if (before.good === 0 && lesson.good <= 0) return
    const bucket = lesson.good > 0 ? this.#bucketOf(ip) : 0
    const after = { ...rule(before, lesson, hour, NET_MEMORY), buckets: (before.buckets ?? 0) | bucket }
    if (!this.#table.put(high, low, after) || !this.#isShared) return
    const { good, bad } = lesson
    this.#untold.add({ key: keyOf(high, low), since: hour, hour, good, bad, undone: 0, buckets: bucket })
  }

  /** As in history.ts, whose methods pass on here what is about domains. */
  share(): void {
    this.#isShared = true
  }

  takeUntold(count: number): Untold[] {
    return this.#untold.take(count)
  }

  putBack(untold: Untold): void {
    this.#untold.add(untold)
  }

  get untold(): number {
    return this.#untold.size
  }

  hear(key: string, heard: Past): Past | undefined {
    const [high, low] = bitsIn(key)
    const hour = this.#table.hour
    const before = this.#table.get(high, low)
    const untold = this.#untold.get(key)
    if (heard.good + (untold?.good ?? 0) < before.good) return before
    const past = untilNow(heard, hour)
    const after = untold === undefined ? past : withUntold(past, untold, NET_MEMORY)
    const buckets = (heard.buckets ?? 0) | (before.buckets ?? 0)
    if (!this.#table.isForgotten(after)) this.#table.put(high, low, { ...after, buckets })
    return undefined
  }

  /** @param part of so many @param see the keys are those of past-text.ts */
  each(part: number, parts: number, see: (key: string, past: Past) => void): void {
    this.#table.each(part, parts, (high, low, past) => {
      if (!this.#table.isForgotten(past)) see(keyOf(high, low), past)
    })
  }

  sweep(part: number): void {
    this.#table.sweep(part)
  }

  /** One bit, the same at all nodes. */
  #bucketOf(ip: string): number {
    const bits = this.#bits
    if (!readBits(ip, bits)) return 0
    const high = bits[0]!
    const net = netBits(high, bits[1]!)
    const mixed = Math.imul(Math.imul(high, 0x85eb_ca6b) ^ net ^ (net >>> 15), 0x9e37_79b1)
    return 1 << ((mixed >>> 8) % BUCKETS)
  }
}

const keyOf = (high: number, low: number): string => `d${digitsOf(high, low)}`

/** The digest is text: each buffer would be memory outside the heap, which is given back late. */
const bitsOf = (domain: string): readonly [high: number, low: number] =>
  bitsIn(hash('sha256', domain, 'hex').slice(0, 16))
