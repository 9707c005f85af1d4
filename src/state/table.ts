/**
 * The counting table under every limit that is kept in memory: how much each key has used of its window.
 *
 * A flood brings keys without number, so the table is of fixed size and an operation has a fixed cost: a key belongs to
 * one set of eight slots, and no other slot is ever looked at. Where a set is full, a new key takes the slot of one whose
 * counts have run out, else of the one that has used least. A flood of keys seen once therefore pushes out other keys
 * seen once; a key that is worth remembering goes only when all eight of its set are as heavy, and then one of the
 * eight, since whatever came in its place is the lightest again. A key that was pushed out starts from nothing: under
 * such pressure the table forgets, it never refuses somebody for what another did.
 *
 * Use is counted in a sliding window of two buckets (the sliding window counter, as Cloudflare described it in 2017):
 * time is cut into aligned windows, and
 *
 *     used = admitted in this window + admitted in the last one × the share of it that still lies within `windowMs`
 *
 * What that promises, for a constant `max` and for a key that stays in the table:
 * - In an aligned window never more than `max` is admitted: `used` is at least what this window has admitted.
 * - In any span of `windowMs` that ends at share g (0 ≤ g < 1) of an aligned window, at most max + g·x ≤ max·(1 + g),
 *   x being what the window before admitted: the last admission at share h ≤ g found y + x·(1 - h) ≤ max, and the span
 *   has at most x + y. So always less than 2·max, which is approached by saving a whole `max` for the last moment of a
 *   window; where arrivals are even, no more than `max`.
 * - In n aligned windows on end at most n·max, and somebody who never stops trying gets all but the rounding of it: a
 *   refused attempt is not added to what was admitted.
 *
 * Two keys are one to the table when they share 64 bits of hash: for any two keys 1 in 2^64, among a million live ones
 * about 1 in 37 million that it happens at all. The hash is HalfSipHash-1-3 under a secret seed, since a plain
 * multiplying hash has collisions that can be worked out beforehand, whatever the seed.
 */

const WAYS = 8
/** One slot is six 32-bit words, 24 bytes: two of hash, the window it was last counted in, and three counts. */
const SLOT = 6
const LOW = 0
const HIGH = 1
const WINDOW = 2
const CURRENT = 3
const PREVIOUS = 4
const REFUSED = 5
const SET = WAYS * SLOT
const MOST = 0x7fffffff
/** How many sets size() looks at. */
const SAMPLE = 512

export interface WindowTableOptions {
  /** Keys that have room, rounded up to a multiple of 8. Each takes 24 bytes, which the system gives when first used. */
  readonly capacity: number
  readonly windowMs: number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
}

/**
 * Counts `amount` (whole numbers) per key against `max`. `now` is in ms, of any clock, best of a monotonic one. A clock
 * that steps back by less than a window stands still until it has caught up; after a longer step all counts go over to the
 * window in which it lands, and are forgotten at most two windows later: nobody gains by it, and nobody is kept out.
 */
export class WindowTable {
  readonly #windowMs: number
  readonly #sets: number
  readonly #words: Int32Array
  readonly #key0: number
  readonly #key1: number
  #latest = Number.NEGATIVE_INFINITY
  /** The window in which the clock was when it had last stepped back by a window or more. */
  #landed = 0
  // The two halves of the hash made last; fields, so that hashing allocates nothing.
  #low = 0
  #high = 0

  constructor({ capacity, windowMs, seed }: WindowTableOptions) {
    if (!(capacity >= 1) || !(windowMs >= 1)) throw new RangeError('capacity and windowMs must be at least 1')
    if (seed.length !== 8) throw new RangeError('seed must be 8 bytes')
    this.#windowMs = windowMs
    this.#sets = Math.ceil(capacity / WAYS)
    this.#words = new Int32Array(this.#sets * SET)
    const view = new DataView(seed.buffer, seed.byteOffset, 8)
    this.#key0 = view.getInt32(0, true)
    this.#key1 = view.getInt32(4, true)
  }

  /**
   * Admits `amount` for the key if that leaves it within `max` (rounded down), and returns what it has then used, rounded
   * up, this attempt included: at most `max` when it was admitted, more than `max` when not. A refused attempt is not
   * added to what was admitted; the result then has everything refused in this window on top, and so says how far over
   * the limit the key is.
   */
  charge(key: string, now: number, max: number, amount = 1): number {
    const time = this.#clock(now)
    const window = this.#window(time)
    const remaining = this.#remaining(time)
    this.#hash(key)
    const words = this.#words
    let at = this.#find()
    if (at >= 0) this.#advance(at, window)
    else at = this.#take(window, remaining)
    const used = words[at + CURRENT]! + this.#share(words[at + PREVIOUS]!, remaining)
    if (used + amount <= Math.floor(max)) {
      words[at + CURRENT] = Math.min(MOST, words[at + CURRENT]! + amount)
      return Math.ceil(used + amount)
    }
    const refused = Math.min(MOST, words[at + REFUSED]! + amount)
    words[at + REFUSED] = refused
    return Math.ceil(used + refused)
  }

  /** Whether the key comes for the first time in the aligned window that `now` is in, and is counted by this alone. */
  first(key: string, now: number): boolean {
    const time = this.#clock(now)
    const window = this.#window(time)
    this.#hash(key)
    const words = this.#words
    let at = this.#find()
    if (at >= 0) this.#advance(at, window)
    else at = this.#take(window, this.#remaining(time))
    if (words[at + CURRENT] !== 0) return false
    words[at + CURRENT] = 1
    return true
  }

  /** What the key has used by now, rounded up, without what was refused: the next one is admitted while it is under `max`. */
  peek(key: string, now: number): number {
    const time = this.#clock(now)
    this.#hash(key)
    const at = this.#find()
    if (at < 0) return 0
    this.#advance(at, this.#window(time))
    return Math.ceil(this.#words[at + CURRENT]! + this.#share(this.#words[at + PREVIOUS]!, this.#remaining(time)))
  }

  /** Takes back what was admitted and then not used, at most down to nothing. */
  refund(key: string, now: number, amount = 1): void {
    const time = this.#clock(now)
    this.#hash(key)
    const at = this.#find()
    if (at < 0) return
    this.#advance(at, this.#window(time))
    const words = this.#words
    const here = Math.min(amount, words[at + CURRENT]!)
    words[at + CURRENT] = words[at + CURRENT]! - here
    words[at + PREVIOUS] = Math.max(0, words[at + PREVIOUS]! - (amount - here))
  }

  /** About how many keys have counts that still matter: told from at most 4,096 slots (then within some 5 %), so that asking costs the same always. */
  size(now: number): number {
    const time = this.#clock(now)
    const window = this.#window(time)
    const remaining = this.#remaining(time)
    const sets = Math.min(SAMPLE, this.#sets)
    let live = 0
    for (let at = 0; at < sets * SET; at += SLOT) if (this.#weight(at, window, remaining) > 0) live++
    return Math.round((live * this.#sets) / sets)
  }

  #clock(now: number): number {
    if (now < this.#latest) {
      if (this.#latest - now < this.#windowMs) return this.#latest
      this.#landed = this.#window(now)
    }
    this.#latest = now
    return now
  }

  /** Windows that have passed since the slot was counted in; since the step back for one that lies ahead. */
  #passed(at: number, window: number): number {
    const passed = (window - this.#words[at + WINDOW]!) | 0
    return passed < 0 ? (window - this.#landed) | 0 : passed
  }

  /** The number of the aligned window, modulo 2^32. */
  #window(time: number): number {
    return Math.floor(time / this.#windowMs) | 0
  }

  /** How much of the last window, in ms, still lies within `windowMs`. */
  #remaining(time: number): number {
    return this.#windowMs - (time - Math.floor(time / this.#windowMs) * this.#windowMs)
  }

  /** Multiplied before it is divided, so that a whole number stays one and is not rounded up to the next. */
  #share(count: number, remaining: number): number {
    return (count * remaining) / this.#windowMs
  }

  /** The first word of the slot of the key hashed last; -1 when it has none. */
  #find(): number {
    const words = this.#words
    const low = this.#low
    const high = this.#high
    const first = this.#set()
    for (let at = first; at < first + SET; at += SLOT) {
      if (words[at] === low && words[at + HIGH] === high) return at
    }
    return -1
  }

  #set(): number {
    return Math.floor(((this.#high >>> 0) / 0x1_0000_0000) * this.#sets) * SET
  }

  /** Gives the key hashed last the slot in its set that is easiest to spare. */
  #take(window: number, remaining: number): number {
    const words = this.#words
    const first = this.#set()
    let taken = first
    let least = Number.POSITIVE_INFINITY
    for (let at = first; at < first + SET; at += SLOT) {
      const weight = this.#weight(at, window, remaining)
      if (weight >= least) continue
      taken = at
      least = weight
      if (weight === 0) break
    }
    words[taken + LOW] = this.#low
    words[taken + HIGH] = this.#high
    words[taken + WINDOW] = window
    words[taken + CURRENT] = 0
    words[taken + PREVIOUS] = 0
    words[taken + REFUSED] = 0
    return taken
  }

  /** How much would be forgotten with a slot; 0 when its counts have run out. */
  #weight(at: number, window: number, remaining: number): number {
    const words = this.#words
    const passed = this.#passed(at, window)
    if (passed > 1) return 0
    if (passed === 1) return this.#share(words[at + CURRENT]!, remaining)
    return words[at + CURRENT]! + this.#share(words[at + PREVIOUS]!, remaining) + words[at + REFUSED]!
  }

  /** Brings a slot's counts to this window. */
  #advance(at: number, window: number): void {
    const words = this.#words
    if (words[at + WINDOW] === window) return
    const passed = this.#passed(at, window)
    words[at + WINDOW] = window
    if (passed === 0) return
    words[at + PREVIOUS] = passed === 1 ? words[at + CURRENT]! : 0
    words[at + CURRENT] = 0
    words[at + REFUSED] = 0
  }

  /**
   * HalfSipHash-1-3 with 64 bits of output (Aumasson and Bernstein's SipHash on 32-bit words) over the UTF-16 units of
   * the key, two a word, with the number of units in the last word.
   */
  #hash(key: string): void {
    let v0 = this.#key0
    let v1 = this.#key1 ^ 0xee
    let v2 = this.#key0 ^ 0x6c796765
    let v3 = this.#key1 ^ 0x74656462
    const units = key.length
    const words = (units >> 1) + 1
    let last = 0
    // One round for each word of the key, then three, the first half of the result, and three more, the second half.
    for (let i = 0; i < words + 6; i++) {
      let word = 0
      if (i < words) {
        const unit = i << 1
        if (unit + 1 < units) word = key.charCodeAt(unit) | (key.charCodeAt(unit + 1) << 16)
        else word = (unit < units ? key.charCodeAt(unit) : 0) | (units << 24) | ((units & 0xff00) << 8)
        v3 ^= word
      } else if (i === words) {
        v2 ^= 0xee
      } else if (i === words + 3) {
        last = v1 ^ v3
        v1 ^= 0xdd
      }
      v0 = (v0 + v1) | 0
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
      v0 = (v0 << 16) | (v0 >>> 16)
      v2 = (v2 + v3) | 0
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
      v0 = (v0 + v3) | 0
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
      v2 = (v2 + v1) | 0
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
      v2 = (v2 << 16) | (v2 >>> 16)
      v0 ^= word
    }
    this.#low = last
    this.#high = v1 ^ v3
  }
}
