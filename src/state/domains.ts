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
import { HOUR_MS } from '../core/time.ts'
import {
  aged,
  hourOf,
  isForgotten,
  type Lesson,
  NET_MEMORY,
  NO_PAST,
  type Past,
  taught,
  taughtLate,
  untilNow,
} from './past.ts'
import { PastTable } from './past-table.ts'
import { type Untold, UntoldNotes, withUntold } from './untold.ts'

const MEMORY = NET_MEMORY
const BUCKETS = 28
/** What a domain needs to be worth more than others: addresses with good mail, each day anew, and networks that they are in. */
export const GOOD_ADDRESSES = 20
export const GOOD_NETS = 3

export interface DomainsOptions {
  /** HISTORY_TTL, in milliseconds. */
  readonly ttlMs: () => number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
  /** How many domains have room. */
  readonly capacity: number
}

/** In at least so many networks good mail has come from a domain. */
export const netsOf = ({ nets = 0 }: Past): number => countOfBits(nets)

export const isDomainKey = (key: string): boolean => key.startsWith('d')

export class Domains {
  readonly #options: DomainsOptions
  readonly #table: PastTable
  readonly #untold = new UntoldNotes()
  readonly #bits = new Int32Array(2)
  #isShared = false

  constructor(options: DomainsOptions) {
    this.#options = options
    const { capacity, seed } = options
    const isWide = (past: Past): boolean => past.good >= GOOD_ADDRESSES && netsOf(past) >= GOOD_NETS
    const worthOf = (past: Past): number => (this.#isForgotten(past) ? 0 : isWide(past) ? 2 : 1)
    this.#table = new PastTable({ capacity, seed, worthOf, netSets: 1 })
  }

  /** What is remembered of a domain, as it weighs now. @param domain in lower case */
  of(domain: string): Past {
    const [high, low] = wordsOf(domain)
    return aged(this.#held(high, low), this.#hour)
  }

  /**
   * An address of this domain has sent mail, for the first time today.
   * @param ip canonical @param lesson of the address: 0 or 1 each @param came as in history.ts
   */
  learn(domain: string, ip: string, lesson: Lesson, came?: number): void {
    const [high, low] = wordsOf(domain)
    const now = this.#hour
    const [hour, rule] = came === undefined ? [now, taught] : [Math.min(now, hourOf(came)), taughtLate]
    const before = untilNow(this.#held(high, low), now)
    if (before.good === 0 && lesson.good <= 0) return
    const bucket = lesson.good > 0 ? this.#bucketOf(ip) : 0
    const after = { ...rule(before, lesson, hour, MEMORY), nets: (before.nets ?? 0) | bucket }
    if (!this.#table.put(high, low, after) || !this.#isShared) return
    const { good, bad } = lesson
    this.#untold.add({ key: keyOf(high, low), since: hour, hour, good, bad, undone: 0, nets: bucket })
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
    const [high, low] = [word(key.slice(1, 9)), word(key.slice(9))]
    const hour = this.#hour
    const before = this.#held(high, low)
    const untold = this.#untold.get(key)
    if (heard.good + (untold?.good ?? 0) < before.good) return before
    const past = untilNow(heard, hour)
    const after = untold === undefined ? past : withUntold(past, untold, MEMORY)
    const nets = (heard.nets ?? 0) | (before.nets ?? 0)
    if (!this.#isForgotten(after)) this.#table.put(high, low, { ...after, nets })
    return undefined
  }

  /** @param part of so many @param see the keys are those of past-text.ts */
  each(part: number, parts: number, see: (key: string, past: Past) => void): void {
    const sets = Math.ceil(this.#table.sets / parts)
    this.#table.each(part * sets, (part + 1) * sets, (high, low, past) => {
      if (!this.#isForgotten(past)) see(keyOf(high, low), past)
    })
  }

  sweep(part: number): void {
    this.#table.sweep(Math.ceil(this.#table.sets * part))
  }

  get #hour(): number {
    return hourOf(this.#options.now())
  }

  #isForgotten(past: Past): boolean {
    return isForgotten(past, this.#hour, this.#options.ttlMs() / HOUR_MS)
  }

  /** As it weighed after the last lesson. */
  #held(high: number, low: number): Past {
    const past = this.#table.get(high, low)
    return past === undefined || this.#isForgotten(past) ? NO_PAST : past
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

const word = (hex: string): number => Number.parseInt(hex, 16) | 0
const hex = (bits: number): string => (bits >>> 0).toString(16).padStart(8, '0')
const keyOf = (high: number, low: number): string => `d${hex(high)}${hex(low)}`

function wordsOf(domain: string): readonly [high: number, low: number] {
  // In text: each buffer would be memory outside the heap, which is given back late.
  const digest = hash('sha256', domain, 'hex')
  return [word(digest.slice(0, 8)), word(digest.slice(8, 16))]
}
