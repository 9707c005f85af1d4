/**
 * The counting table under every limit that is kept in memory: how much of its window each key has used.
 *
 * A flood brings any number of keys, so the table has a fixed size and every operation a fixed cost: a key belongs to
 * one set of eight slots, and no other slot is searched for it. When a set is full, a new key takes the slot of a key
 * whose counts have expired, or else of the key that has used least. So a flood of keys that are seen once pushes out
 * other keys that were seen once. A key that is worth remembering goes only when all eight keys of its set are as
 * heavy, and then only one of the eight goes, since the key that took its slot is the lightest again. A key that was pushed out
 * starts from zero: under such pressure the table forgets, but it never refuses a client for what another client did.
 *
 * Use is counted in a sliding window of two buckets (the sliding window counter, as Cloudflare described it in 2017).
 * Time is cut into aligned windows, and
 *
 *     used = admitted in this window + admitted in the last one × the share of it that still lies within `windowMs`
 *
 * This guarantees, for a constant `max` and for a key that stays in the table:
 * - In an aligned window no more than `max` is admitted, because `used` is at least what this window has admitted.
 * - In any span of `windowMs` that ends at share g (0 ≤ g < 1) of an aligned window, at most max + g·x ≤ max·(1 + g) is
 *   admitted, where x is what the window before admitted: the last admission at share h ≤ g found y + x·(1 - h) ≤ max,
 *   and the span has at most x + y. That is always less than 2·max. A client comes close to it by saving a whole `max`
 *   for the last moment of a window. If arrivals are even, no more than `max` is admitted.
 * - In n consecutive aligned windows at most n·max is admitted. A client that never stops trying gets all of it but for
 *   rounding, because a refused attempt is not added to what was admitted.
 *
 * The table takes two keys for one if they share a hash of 64 bits. For any two keys the chance is 1 in 2^64. Among a
 * million live keys the chance that it happens at all is about 1 in 37 million. The hash is HalfSipHash-1-3 under a
 * secret seed: a plain multiplicative hash has collisions that can be worked out beforehand, whatever the seed is.
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
/** How many sets size() samples. */
const SAMPLE = 512

export interface WindowTableOptions {
  /** How many keys have room, rounded up to a multiple of 8. A key takes 24 bytes, which the system allocates on first use. */
  readonly capacity: number
  readonly windowMs: number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
}

/**
 * Counts `amount` (a whole number) per key against `max`. `now` is in ms, of any clock, preferably a monotonic one. If the clock
 * steps back by less than a window, the table's time stands still until the clock has caught up. After a longer step all counts
 * are moved to the window in which the clock lands, and are forgotten at most two windows later: nobody gains or is kept out.
 */
export class WindowTable {
  readonly #windowMs: number
  readonly #sets: number
  readonly #words: Int32Array
  readonly #key0: number
  readonly #key1: number
  #latest = Number.NEGATIVE_INFINITY
  /** The window in which the clock landed when it last stepped back by a window or more. */
  #landed = 0
  // The latest hash, in two halves, and its key: hashing allocates nothing, and a key that comes again at once is not hashed again.
  #hashed: string | undefined
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
   * Admits `amount` for the key if that leaves the key within `max` (rounded down).
   * @returns the use including this attempt, rounded up: at most `max` if the attempt was admitted, more than `max` if
   * not. A refused attempt is not added to what was admitted. The result then includes everything that was refused in
   * this window, and so tells how far the key is over the limit.
   */
  charge(key: string, now: number, max: number, amount = 1): number {
    const time = this.#clock(now)
    const remaining = this.#remaining(time)
    const words = this.#words
    const at = this.#place(key, time, remaining)
    const used = words[at + CURRENT]! + this.#share(words[at + PREVIOUS]!, remaining)
    if (used + amount <= Math.floor(max)) {
      words[at + CURRENT] = Math.min(MOST, words[at + CURRENT]! + amount)
      return Math.ceil(used + amount)
    }
    return Math.ceil(used + this.#refuse(at, amount))
  }

  /** Counts an attempt that was refused for what is not in this table. @returns how many were refused in this window */
  refuse(key: string, now: number): number {
    const time = this.#clock(now)
    return this.#refuse(this.#place(key, time, this.#remaining(time)), 1)
  }

  /** Whether this is the key's first appearance in the aligned window of `now`. For keys that nothing else counts. */
  first(key: string, now: number): boolean {
    const time = this.#clock(now)
    const at = this.#place(key, time, this.#remaining(time))
    if (this.#words[at + CURRENT] !== 0) return false
    this.#words[at + CURRENT] = 1
    return true
  }

  /** The use by now, rounded up, without refused attempts. While it is below `max`, the next attempt is admitted. */
  peek(key: string, now: number): number {
    const time = this.#clock(now)
    const at = this.#seek(key, time)
    if (at < 0) return 0
    return Math.ceil(this.#words[at + CURRENT]! + this.#share(this.#words[at + PREVIOUS]!, this.#remaining(time)))
  }

  /** Takes back what was admitted but then not used, at most down to 0. */
  refund(key: string, now: number, amount = 1): void {
    const at = this.#seek(key, this.#clock(now))
    if (at < 0) return
    const words = this.#words
    const here = Math.min(amount, words[at + CURRENT]!)
    words[at + CURRENT] = words[at + CURRENT]! - here
    words[at + PREVIOUS] = Math.max(0, words[at + PREVIOUS]! - (amount - here))
  }

  /**
   * An estimate of how many keys have counts that still matter, from a sample of at most 4,096 slots (accurate to about
   * 5 %), so that the cost is bounded.
   */
  size(now: number): number {
    const time = this.#clock(now)
    const window = this.#window(time)
    const remaining = this.#remaining(time)
    const sets = Math.min(SAMPLE, this.#sets)
    let live = 0
    for (let at = 0; at < sets * SET; at += SLOT) if (this.#weight(at, window, remaining) > 0) live++
    return Math.round((live * this.#sets) / sets)
  }

  /** The first word of the key's slot, which it gets if it has none. */
  #place(key: string, time: number, remaining: number): number {
    const at = this.#seek(key, time)
    return at >= 0 ? at : this.#take(this.#window(time), remaining)
  }

  /** The first word of the key's slot, with its counts as of now; -1 if it has none. */
  #seek(key: string, time: number): number {
    this.#hash(key)
    const at = this.#find()
    if (at >= 0) this.#advance(at, this.#window(time))
    return at
  }

  #refuse(at: number, amount: number): number {
    const refused = Math.min(MOST, this.#words[at + REFUSED]! + amount)
    this.#words[at + REFUSED] = refused
    return refused
  }

  #clock(now: number): number {
    if (now < this.#latest) {
      if (this.#latest - now < this.#windowMs) return this.#latest
      this.#landed = this.#window(now)
    }
    this.#latest = now
    return now
  }

  /** How many windows have passed since the slot was last counted in; for a slot that lies ahead, since the step back. */
  #passed(at: number, window: number): number {
    const passed = (window - this.#words[at + WINDOW]!) | 0
    return passed < 0 ? (window - this.#landed) | 0 : passed
  }

  /** The number of the aligned window, modulo 2^32. */
  #window(time: number): number {
    return Math.floor(time / this.#windowMs) | 0
  }

  /** How much of the previous window, in ms, still lies within `windowMs`. */
  #remaining(time: number): number {
    return this.#windowMs - (time - Math.floor(time / this.#windowMs) * this.#windowMs)
  }

  /** Multiplies before it divides, so that a whole number stays whole and is not rounded up. */
  #share(count: number, remaining: number): number {
    return (count * remaining) / this.#windowMs
  }

  /** The first word of the slot of the key that was hashed last; -1 if it has none. */
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

  /** Gives the key that was hashed last the slot in its set that is the least loss. */
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

  /** How much would be forgotten with a slot; 0 if its counts have expired. */
  #weight(at: number, window: number, remaining: number): number {
    const words = this.#words
    const passed = this.#passed(at, window)
    if (passed > 1) return 0
    if (passed === 1) return this.#share(words[at + CURRENT]!, remaining)
    return words[at + CURRENT]! + this.#share(words[at + PREVIOUS]!, remaining) + words[at + REFUSED]!
  }

  /** Brings a slot's counts forward to this window. */
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
   * the key, two per word, with the number of units in the last word.
   */
  #hash(key: string): void {
    if (key === this.#hashed) return
    this.#hashed = key
    let v0 = this.#key0
    let v1 = this.#key1 ^ 0xee
    let v2 = this.#key0 ^ 0x6c796765
    let v3 = this.#key1 ^ 0x74656462
    const units = key.length
    const words = (units >> 1) + 1
    let last = 0
    // One round for each word of the key, three rounds for the first half of the result, and three for the second half.
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
