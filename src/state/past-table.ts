/**
 * A table of pasts (past.ts) by address, of fixed size and fixed cost: an address belongs to one set of sixteen slots, and
 * no other slot is searched for it.
 *
 * When its set is full, a new address takes the slot that is the least loss: of the lowest worth, and of those the one
 * that has been silent longest. It never takes the slot of an address that is worth more than itself, however many
 * strangers come: then it is the stranger who is not remembered. With a known client in half of the slots, one set in
 * four hundred has more of them than room.
 *
 * Whoever has taught nothing for HISTORY_TTL is forgotten: at once for whoever asks, and its slot is cleared by a sweep.
 *
 * An address takes 28 bytes, a domain 32, with a set of buckets, and a neighbourhood 36, with two. It is stored as it is, so that no two are ever taken for one;
 * its place follows from a keyed hash.
 */
import { HOUR_MS, hourOf } from '../core/time.ts'
import { halfSipHash } from './half-sip-hash.ts'
import { isForgotten, NO_PAST, type Past } from './past.ts'

const WAYS = 16
/** One slot is seven 32-bit words: the address, `good` with the worth, the two weights, and three times; then up to two sets of buckets. */
const SLOT = 7
const HIGH = 0
const LOW = 1
const GOOD = 2
const RECENT = 3
const FIRST = 4
const LAST_GOOD = 5
const LAST_BAD = 6
const BUCKETS = 7
const GOOD_BUCKETS = 8
/** The worth is in the three upper bits, the count in the others. */
const WORTH_SHIFT = 29
const MOST_GOOD = (1 << WORTH_SHIFT) - 1
/** Weights are kept in 512ths, in 16 bits each. */
const UNIT = 512
const MOST_WEIGHT = 0xffff

/** Worths are 1 to 4; 0 is an empty slot. */
export const WORTHS = 5

/** What whoever remembers pasts is told for its table. */
export interface MemoryOptions {
  /** HISTORY_TTL, in milliseconds. */
  readonly ttlMs: () => number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
  /** How many have room, rounded up to a multiple of 16. */
  readonly capacity: number
}

export interface PastTableOptions extends MemoryOptions {
  /** What a past that is not forgotten is worth at this hour: 1 to 4. */
  readonly worthOf: (past: Past, hour: number) => number
  /** How many sets a past has: `buckets`, then `goodBuckets`. None by default. */
  readonly bucketSets?: 0 | 1 | 2
}

export class PastTable {
  readonly #sets: number
  /** How many words a slot has, and a set. */
  readonly #slot: number
  readonly #set: number
  readonly #words: Int32Array
  readonly #key0: number
  readonly #key1: number
  readonly #options: PastTableOptions
  /** How many slots have each worth. */
  readonly #counts: number[] = new Array<number>(WORTHS).fill(0)
  #swept = 0

  constructor(options: PastTableOptions) {
    const { capacity, seed, bucketSets = 0 } = options
    if (!(capacity >= 1)) throw new RangeError('capacity must be at least 1')
    if (seed.length !== 8) throw new RangeError('seed must be 8 bytes')
    this.#options = options
    this.#sets = Math.ceil(capacity / WAYS)
    this.#slot = SLOT + bucketSets
    this.#set = WAYS * this.#slot
    this.#words = new Int32Array(this.#sets * this.#set)
    const view = new DataView(seed.buffer, seed.byteOffset, 8)
    this.#key0 = view.getInt32(0, true)
    this.#key1 = view.getInt32(4, true)
  }

  get capacity(): number {
    return this.#sets * WAYS
  }

  /** This hour, as the times of a past are reckoned. */
  get hour(): number {
    return hourOf(this.#options.now())
  }

  isForgotten(past: Past): boolean {
    return isForgotten(past, this.hour, this.#options.ttlMs() / HOUR_MS)
  }

  /** How many addresses have this worth, as of when they were last taught or swept. */
  count(worth: number): number {
    return this.#counts[worth] ?? 0
  }

  /** @returns what is remembered, as it weighed after the last lesson; NO_PAST of a stranger, for whom nothing is allocated */
  get(high: number, low: number): Past {
    const at = this.#find(high, low)
    if (at < 0) return NO_PAST
    const past = this.#read(at)
    return this.isForgotten(past) ? NO_PAST : past
  }

  /** @returns false if there is no room for it */
  put(high: number, low: number, past: Past): boolean {
    const worth = this.#worthNow(past)
    const found = this.#find(high, low)
    const at = found >= 0 ? found : this.#room(high, low, worth)
    if (at < 0) return false
    this.#words[at + HIGH] = high
    this.#words[at + LOW] = low
    this.#write(at, past, worth)
    return true
  }

  /** Weighs a part of the table again, the one that has not been weighed for longest, and clears what is forgotten. @param part 0 to 1 */
  sweep(part: number): void {
    const words = this.#words
    for (let i = 0; i < Math.ceil(this.#sets * part); i++) {
      const first = this.#swept * this.#set
      for (let at = first; at < first + this.#set; at += this.#slot) {
        const worth = this.#worth(at)
        if (worth === 0) continue
        const now = this.#worthNow(this.#read(at))
        if (now === worth) continue
        this.#counts[worth]!--
        this.#counts[now]!++
        if (now === 0) words.fill(0, at, at + this.#slot)
        else words[at + GOOD] = (now << WORTH_SHIFT) | (words[at + GOOD]! & MOST_GOOD)
      }
      this.#swept = (this.#swept + 1) % this.#sets
    }
  }

  /**
   * Calls with every address of a part of the table, which must not be put meanwhile. What is forgotten and not cleared yet is among them.
   * @param part of so many, from 0
   */
  each(part: number, parts: number, see: (high: number, low: number, past: Past) => void): void {
    const words = this.#words
    const sets = Math.ceil(this.#sets / parts)
    const end = Math.min((part + 1) * sets, this.#sets) * this.#set
    for (let at = part * sets * this.#set; at < end; at += this.#slot) {
      if (this.#worth(at) > 0) see(words[at + HIGH]!, words[at + LOW]!, this.#read(at))
    }
  }

  /** 0: it is forgotten. */
  #worthNow(past: Past): number {
    return this.isForgotten(past) ? 0 : this.#options.worthOf(past, this.hour)
  }

  #worth(at: number): number {
    return this.#words[at + GOOD]! >>> WORTH_SHIFT
  }

  #first(high: number, low: number): number {
    const hash = halfSipHash(this.#key0, this.#key1, high, low)
    return Math.floor(((hash >>> 0) / 0x1_0000_0000) * this.#sets) * this.#set
  }

  #find(high: number, low: number): number {
    const words = this.#words
    const first = this.#first(high, low)
    for (let at = first; at < first + this.#set; at += this.#slot) {
      if (words[at + LOW] === low && words[at + HIGH] === high && this.#worth(at) > 0) return at
    }
    return -1
  }

  /** The slot of the least loss; -1 if all are worth more than `worth`. */
  #room(high: number, low: number, worth: number): number {
    const first = this.#first(high, low)
    let taken = -1
    let least = worth
    let oldest = Number.POSITIVE_INFINITY
    for (let at = first; at < first + this.#set; at += this.#slot) {
      const here = this.#worth(at)
      if (here === 0) return at
      const last = Math.max(this.#words[at + LAST_GOOD]!, this.#words[at + LAST_BAD]!)
      if (here > least || (here === least && last >= oldest)) continue
      taken = at
      least = here
      oldest = last
    }
    return taken
  }

  #read(at: number): Past {
    const words = this.#words
    const recent = words[at + RECENT]!
    const past = {
      good: words[at + GOOD]! & MOST_GOOD,
      recentGood: (recent >>> 16) / UNIT,
      recentBad: (recent & 0xffff) / UNIT,
      first: words[at + FIRST]!,
      lastGood: words[at + LAST_GOOD]!,
      lastBad: words[at + LAST_BAD]!,
    }
    if (this.#slot <= BUCKETS) return past
    const buckets = words[at + BUCKETS]!
    return this.#slot <= GOOD_BUCKETS
      ? { ...past, buckets }
      : { ...past, buckets, goodBuckets: words[at + GOOD_BUCKETS]! }
  }

  #write(at: number, past: Past, worth: number): void {
    const words = this.#words
    this.#counts[this.#worth(at)]!--
    this.#counts[worth]!++
    if (worth === 0) {
      words.fill(0, at, at + this.#slot)
      return
    }
    words[at + GOOD] = (worth << WORTH_SHIFT) | Math.min(MOST_GOOD, past.good)
    words[at + RECENT] = (weight(past.recentGood) << 16) | weight(past.recentBad)
    words[at + FIRST] = past.first
    words[at + LAST_GOOD] = past.lastGood
    words[at + LAST_BAD] = past.lastBad
    if (this.#slot > BUCKETS) words[at + BUCKETS] = past.buckets ?? 0
    if (this.#slot > GOOD_BUCKETS) words[at + GOOD_BUCKETS] = past.goodBuckets ?? 0
  }
}

const weight = (of: number): number => Math.min(MOST_WEIGHT, Math.round(of * UNIT))
