/**
 * Messages that were put off lately, and which of those that come now are among them. A mail server tries again after minutes,
 * with the same sender and recipient; much of what a flood consists of never does, or does so at once. Pure: a table of fixed
 * size, and time as an argument.
 *
 *     sooner than `after`   does not count, and does not start the clock again: bots repeat at once what was refused
 *     up to WITHIN_S        has come back
 *     later                 is forgotten
 *
 * A message that comes back and is put off again counts as put off a moment longer than `after` ago, so that its next try counts
 * whenever it comes.
 *
 * A provider tries again from another address, so what is compared is not the address but the /24 or /48, or the domain of its name where
 * that is known (`back`). The largest providers have servers in many networks: from another one the same sender and recipient count as well
 * (`elsewhere`). Nothing shows that these are one provider, and the senders of a flood may name the same sender and recipient from
 * everywhere. So **each refusal is good for one return**: whoever is let in uses it up, and the next one needs a refusal of its own. A
 * thousand bots with one envelope must be put off a thousand times, as if each had come back by itself, which is what bots can do anyway.
 * Whoever knows an envelope to be waiting, and forges it, can take its return away, and the honest sender then comes back once more. A null
 * sender names nobody: thousands of servers return mail to the same victim, so it counts from its own network or domain alone.
 *
 * A message is six octets: 20 bits of sender and recipient, 12 of the network, and the second, modulo 2^16. What is hashed has a
 * secret in it (returns.ts), so that nobody can aim at a place. By chance one in 130,000 is taken for another. Where a set of
 * eight is full, the oldest makes room.
 */
import type { Came } from '../core/overload.ts'

const WAYS = 8
/** 4,194,304 notes, in 25 MB that are allocated with the first of them. */
const SETS = 1 << 19
const PAIR_BITS = 20
const NET_BITS = 12
const NET_MASK = (1 << NET_BITS) - 1
const SECONDS_MASK = 0xffff
export const WITHIN_S = 8 * 3600
/** The clocks of two nodes may be this far apart. */
const AHEAD_S = 600
/** All is looked through so often for what is to be forgotten. Twice, before the clock of a message has gone round. */
const SWEEP_S = 3600

export interface Key {
  /** Of any size; reduced to the sets that there are. */
  readonly set: number
  /** Sender and recipient, and the network: at least 20 and 12 bits. */
  readonly pair: number
  readonly net: number
  /** Whether it may come back from another network. */
  readonly isNamed: boolean
}

/** One message, as nodes tell each other of it. */
export interface Note {
  readonly set: number
  /** `pair` and `net`, in 32 bits; never 0. */
  readonly word: number
  /** The second at which it was put off, modulo 2^16. */
  readonly second: number
}

export class PutOff {
  readonly #sets: number
  #words = new Uint32Array(0)
  #seconds = new Uint16Array(0)
  #swept = 0

  constructor(sets = SETS) {
    this.#sets = sets
  }

  /** Whether a message has come back, and from where. @param at @param after in seconds */
  came(key: Key, at: number, after: number): Came {
    const place = this.#find(key, at, after)
    if (place < 0) return 'first'
    return this.#words[place] === wordOf(key) ? 'back' : 'elsewhere'
  }

  /** Whether a message was put off that is not forgotten, however lately. */
  holds(key: Key, at: number): boolean {
    const place = this.#place(this.#setOf(key), wordOf(key))
    return place >= 0 && this.#ageOf(place, at) <= WITHIN_S
  }

  /** A message that has come back was let in. @returns what is used up; undefined: it had not come back */
  spend(key: Key, at: number, after: number): Note | undefined {
    const place = this.#find(key, at, after)
    if (place < 0) return undefined
    const spent = { set: this.#setOf(key), word: this.#words[place]!, second: this.#seconds[place]! }
    this.#words[place] = 0
    return spent
  }

  /** A message was put off. @returns what is noted; undefined: nothing new */
  note(key: Key, at: number, after: number): Note | undefined {
    const set = this.#setOf(key)
    const word = wordOf(key)
    const place = this.#place(set, word)
    const age = place < 0 ? undefined : this.#ageOf(place, at)
    if (age !== undefined && age <= after) return undefined
    const second = (age === undefined || age > WITHIN_S ? at : at - after - 1) & SECONDS_MASK
    this.#put(set, word, second, at)
    return { set, word, second }
  }

  /**
   * Another node has noted this. Of what both have noted, what counts as come back is kept; where both do, the later, and where
   * neither does, the earlier. So all nodes come to hold the same. A set that there is none of is nowhere: nothing is read or
   * written there.
   */
  hear({ set, word, second }: Note, at: number, after: number): void {
    const heard = ageOf(second, at)
    if (heard > WITHIN_S) return
    const place = this.#place(set, word)
    const held = place < 0 ? WITHIN_S + 1 : this.#ageOf(place, at)
    const isKept = held <= WITHIN_S && (heard > after ? held > after && held <= heard : held >= heard)
    if (!isKept) this.#put(set, word, second, at)
  }

  /** Another node has let this in. */
  forget({ set, word }: Note): void {
    const place = this.#place(set, word)
    if (place >= 0) this.#words[place] = 0
  }

  clear(): void {
    this.#words.fill(0)
  }

  /** Forgets what is too old. @param seconds since the last call */
  sweep(at: number, seconds: number): void {
    if (this.#words.length === 0) return
    const count = Math.min(this.#sets, Math.ceil((this.#sets * seconds) / SWEEP_S)) * WAYS
    for (let i = 0; i < count; i++) {
      const place = this.#swept
      if (this.#words[place] !== 0 && this.#ageOf(place, at) > WITHIN_S) this.#words[place] = 0
      this.#swept = (place + 1) % this.#words.length
    }
  }

  #setOf({ set }: Key): number {
    return set % this.#sets
  }

  /** Where it was put off, if it has come back: at its own network, or else longest ago; -1: it has not. */
  #find(key: Key, at: number, after: number): number {
    if (this.#words.length === 0) return -1
    const word = wordOf(key)
    const first = this.#setOf(key) * WAYS
    let found = -1
    let oldest = after
    for (let place = first; place < first + WAYS; place++) {
      const here = this.#words[place]!
      if (here === 0 || here >>> NET_BITS !== word >>> NET_BITS) continue
      const age = this.#ageOf(place, at)
      if (age <= after || age > WITHIN_S) continue
      if (here === word) return place
      if (!key.isNamed || age <= oldest) continue
      found = place
      oldest = age
    }
    return found
  }

  #place(set: number, word: number): number {
    if (this.#words.length === 0) return -1
    for (let place = set * WAYS; place < (set + 1) * WAYS; place++) if (this.#words[place] === word) return place
    return -1
  }

  #put(set: number, word: number, second: number, at: number): void {
    if (this.#words.length === 0) {
      this.#words = new Uint32Array(this.#sets * WAYS)
      this.#seconds = new Uint16Array(this.#sets * WAYS)
    }
    const held = this.#place(set, word)
    const place = held >= 0 ? held : this.#room(set, at)
    this.#words[place] = word
    this.#seconds[place] = second
  }

  /** An empty place, or that of the oldest. */
  #room(set: number, at: number): number {
    let room = set * WAYS
    let oldest = -1
    for (let place = room; place < (set + 1) * WAYS; place++) {
      if (this.#words[place] === 0) return place
      const age = this.#ageOf(place, at)
      if (age <= oldest) continue
      room = place
      oldest = age
    }
    return room
  }

  #ageOf(place: number, at: number): number {
    return ageOf(this.#seconds[place]!, at)
  }
}

/** In seconds. What another node has put off in our future has just been put off. */
function ageOf(second: number, at: number): number {
  const age = (at - second) & SECONDS_MASK
  return age > SECONDS_MASK - AHEAD_S ? 0 : age
}

function wordOf({ pair, net }: Key): number {
  const word = (((pair & ((1 << PAIR_BITS) - 1)) << NET_BITS) | (net & NET_MASK)) >>> 0
  return word === 0 ? 1 : word
}
