/**
 * Finds names in HELO that strangers of hundreds of networks have at once: the mark of a botnet whose program has one name for
 * all. Networks (/24, /32) are counted and not addresses, and no friends, because a provider's servers are many, but in few
 * networks, and have names of their own each. One who has a /32 has 65,536 networks of /48, and could make a crowd of any name.
 *
 * A table of fixed size, in sets of eight names. Of a name there is a bitmap: each network sets one bit, and how many are set says
 * how many networks there were (linear counting: Whang, Vander-Zanden, Taylor 1990, section 3). Where a set is full, the name
 * with the fewest networks makes room: made-up names, each of which comes once, do not push out one that many have.
 */
import { hash as oneShot } from 'node:crypto'
import { countOfBits } from '../core/bits.ts'

const WAYS = 8
/** 8,192 names, in 330 KB that are allocated with the first of them. */
const SETS = 1 << 10
const WORDS = 8
const BITS = 32 * WORDS
const WINDOW_MS = 60_000
/** In the present window or in the one before. */
export const CROWD = 200
/** So many bits that many networks set, on average. */
const ENOUGH = Math.round(BITS * (1 - Math.exp(-CROWD / BITS)))

export interface HeloCrowdsOptions {
  /** Whether anybody wants to know. */
  readonly isInUse: () => boolean
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
}

export class HeloCrowds {
  readonly #options: HeloCrowdsOptions
  readonly #seed: string
  /** Of each place: the name, the window that its bits are of, and whether it had a crowd in the window before. */
  #names = new Uint32Array(0)
  #windows = new Uint32Array(0)
  #before = new Uint8Array(0)
  #bits = new Uint32Array(0)

  constructor(options: HeloCrowdsOptions) {
    this.#options = options
    this.#seed = Buffer.from(options.seed).toString('latin1')
  }

  /** A stranger has said a name. @param name in lower case @returns whether a crowd has it */
  met(name: string, net: string): boolean {
    if (!this.#options.isInUse()) return false
    if (this.#names.length === 0) this.#allocate()
    const digest = this.#hash(name)
    const place = this.#placeOf(digest.readUInt32LE(0) % SETS, digest.readUInt32LE(4) || 1)
    const bit = this.#hash(net).readUInt32LE(0) % BITS
    this.#bits[place * WORDS + (bit >>> 5)]! |= 1 << (bit & 31)
    return this.#before[place] === 1 || this.#countAt(place) >= ENOUGH
  }

  #allocate(): void {
    const places = SETS * WAYS
    this.#names = new Uint32Array(places)
    this.#windows = new Uint32Array(places)
    this.#before = new Uint8Array(places)
    this.#bits = new Uint32Array(places * WORDS)
  }

  /** Where the name is; one that is not there takes an empty place, or that of the fewest networks. */
  #placeOf(set: number, name: number): number {
    const window = Math.floor(this.#options.now() / WINDOW_MS)
    const first = set * WAYS
    let room = first
    let fewest = Number.POSITIVE_INFINITY
    for (let place = first; place < first + WAYS; place++) {
      this.#turn(place, window)
      if (this.#names[place] === name) return place
      const count = this.#names[place] === 0 ? -1 : this.#countAt(place) + (this.#before[place] === 1 ? BITS : 0)
      if (count >= fewest) continue
      room = place
      fewest = count
    }
    this.#names[room] = name
    this.#before[room] = 0
    this.#bits.fill(0, room * WORDS, (room + 1) * WORDS)
    return room
  }

  /** A window is over: what was in it is what was before, and older is forgotten. */
  #turn(place: number, window: number): void {
    const past = window - this.#windows[place]!
    if (past === 0) return
    const isCrowd = past === 1 && this.#countAt(place) >= ENOUGH
    this.#before[place] = isCrowd ? 1 : 0
    if (!isCrowd) this.#names[place] = 0
    this.#windows[place] = window
    this.#bits.fill(0, place * WORDS, (place + 1) * WORDS)
  }

  #countAt(place: number): number {
    let count = 0
    for (let i = place * WORDS; i < (place + 1) * WORDS; i++) count += countOfBits(this.#bits[i]!)
    return count
  }

  #hash(text: string): Buffer {
    return oneShot('sha256', `${this.#seed}${text}`, 'buffer')
  }
}
