/**
 * A table of pasts (past.ts) by address, of fixed size and fixed cost: an address belongs to one set of sixteen slots, and
 * no other slot is searched for it.
 *
 * When its set is full, a new address takes the slot that is the least loss: of the lowest worth, and of those the one
 * that has been silent longest. It never takes the slot of an address that is worth more than itself, however many
 * strangers come: then it is the stranger who is not remembered. With a known client in half of the slots, one set in
 * four hundred has more of them than room.
 *
 * An address takes 28 bytes, a domain 32, with the set of its networks, and a neighbourhood 36, with two sets. It is stored as it is, so that no two are ever taken for one;
 * its place follows from a keyed hash.
 */
import { halfSipHash } from './half-sip-hash.ts'
import type { Past } from './past.ts'

const WAYS = 16
/** One slot is seven 32-bit words: the address, `good` with the worth, the two weights, and three times; then up to two sets of networks. */
const SLOT = 7
const HIGH = 0
const LOW = 1
const GOOD = 2
const RECENT = 3
const FIRST = 4
const LAST_GOOD = 5
const LAST_BAD = 6
const NETS = 7
const GOOD_NETS = 8
/** The worth is in the three upper bits, the count in the others. */
const WORTH_SHIFT = 29
const MOST_GOOD = (1 << WORTH_SHIFT) - 1
/** Weights are kept in 512ths, in 16 bits each. */
const UNIT = 512
const MOST_WEIGHT = 0xffff

/** Worths are 1 to 4; 0 is an empty slot. */
export const WORTHS = 5

export interface PastTableOptions {
  /** How many addresses have room, rounded up to a multiple of 16. */
  readonly capacity: number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
  /** What a past is worth at this moment: 1 to 4; 0: it is forgotten. */
  readonly worthOf: (past: Past) => number
  /** How many sets a past has: `nets`, then `goodNets`. None by default. */
  readonly netSets?: 0 | 1 | 2
}

export class PastTable {
  readonly #sets: number
  /** How many words a slot has, and a set. */
  readonly #slot: number
  readonly #set: number
  readonly #words: Int32Array
  readonly #key0: number
  readonly #key1: number
  readonly #worthOf: PastTableOptions['worthOf']
  /** How many slots have each worth. */
  readonly #counts: number[] = new Array<number>(WORTHS).fill(0)
  #swept = 0

  constructor({ capacity, seed, worthOf, netSets = 0 }: PastTableOptions) {
    if (!(capacity >= 1)) throw new RangeError('capacity must be at least 1')
    if (seed.length !== 8) throw new RangeError('seed must be 8 bytes')
    this.#sets = Math.ceil(capacity / WAYS)
    this.#slot = SLOT + netSets
    this.#set = WAYS * this.#slot
    this.#words = new Int32Array(this.#sets * this.#set)
    const view = new DataView(seed.buffer, seed.byteOffset, 8)
    this.#key0 = view.getInt32(0, true)
    this.#key1 = view.getInt32(4, true)
    this.#worthOf = worthOf
  }

  get capacity(): number {
    return this.#sets * WAYS
  }

  /** How many addresses have this worth, as of when they were last taught or swept. */
  count(worth: number): number {
    return this.#counts[worth] ?? 0
  }

  /** @returns undefined if nothing is remembered; only then nothing is allocated */
  get(high: number, low: number): Past | undefined {
    const at = this.#find(high, low)
    return at < 0 ? undefined : this.#read(at)
  }

  /** @returns false if there is no room for it */
  put(high: number, low: number, past: Past): boolean {
    const worth = this.#worthOf(past)
    const found = this.#find(high, low)
    const at = found >= 0 ? found : this.#room(high, low, worth)
    if (at < 0) return false
    this.#words[at + HIGH] = high
    this.#words[at + LOW] = low
    this.#write(at, past, worth)
    return true
  }

  /** Weighs a part of the table again, the one that has not been weighed for longest, and clears what is forgotten. */
  sweep(sets: number): void {
    const words = this.#words
    for (let i = 0; i < Math.min(sets, this.#sets); i++) {
      const first = this.#swept * this.#set
      for (let at = first; at < first + this.#set; at += this.#slot) {
        const worth = this.#worth(at)
        if (worth === 0) continue
        const now = this.#worthOf(this.#read(at))
        if (now === worth) continue
        this.#counts[worth]!--
        this.#counts[now]!++
        if (now === 0) words.fill(0, at, at + this.#slot)
        else words[at + GOOD] = (now << WORTH_SHIFT) | (words[at + GOOD]! & MOST_GOOD)
      }
      this.#swept = (this.#swept + 1) % this.#sets
    }
  }

  /** Calls with every address of these sets, which must not be put meanwhile. */
  each(from: number, to: number, see: (high: number, low: number, past: Past) => void): void {
    const words = this.#words
    for (let at = from * this.#set; at < Math.min(to, this.#sets) * this.#set; at += this.#slot) {
      if (this.#worth(at) > 0) see(words[at + HIGH]!, words[at + LOW]!, this.#read(at))
    }
  }

  get sets(): number {
    return this.#sets
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
    if (this.#slot <= NETS) return past
    const nets = words[at + NETS]!
    return this.#slot <= GOOD_NETS ? { ...past, nets } : { ...past, nets, goodNets: words[at + GOOD_NETS]! }
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
    if (this.#slot > NETS) words[at + NETS] = past.nets ?? 0
    if (this.#slot > GOOD_NETS) words[at + GOOD_NETS] = past.goodNets ?? 0
  }
}

const weight = (of: number): number => Math.min(MOST_WEIGHT, Math.round(of * UNIT))
