/**
 * Which clients have passed a test lately, so that an honest server meets each test once a day, at whichever node
 * (passed-sharing.ts). A table of fixed size: sets of eight, in which the oldest makes room. Whoever fills it makes others meet a
 * test once more, and no more than that. Only hashes are kept, under the secret that all nodes have agreed on (known-sharing.ts).
 */
import { hash as oneShot } from 'node:crypto'
import { fingerprintOf } from './known-recipients.ts'

/** greeting: it has waited for the last line of a greeting that was held back. */
export type Test = 'greeting'

const WAYS = 8
/** 1,048,576 clients, in 8 MB that are allocated with the first of them. */
const SETS = 1 << 17
/** How long a client has passed, in minutes. */
export const TTL_MIN = 24 * 60
/** What is not told to other nodes within a second is beyond what any flood brings to one. */
const MOST_UNTOLD = 16_384

/** One client and test, as nodes tell each other of it. */
export interface Pass {
  readonly set: number
  /** Never 0. */
  readonly word: number
  /** Since the epoch, in minutes. */
  readonly minute: number
}

export interface PassedOptions {
  /** What the hashes are keyed with. It may change, and then all is forgotten. */
  readonly secret: () => string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Sets of eight clients. */
  readonly sets?: number
}

export class Passed {
  readonly #options: PassedOptions
  readonly #sets: number
  #words = new Uint32Array(0)
  #minutes = new Uint32Array(0)
  #secret: string
  #untold: Pass[] | undefined

  constructor(options: PassedOptions) {
    this.#options = options
    this.#sets = options.sets ?? SETS
    this.#secret = options.secret()
  }

  /** @param source the key of limits per client */
  has(test: Test, source: string): boolean {
    this.#begin()
    if (this.#words.length === 0) return false
    const { set, word } = this.#keyOf(test, source)
    const place = this.#find(set % this.#sets, word)
    return place >= 0 && this.#minute - this.#minutes[place]! < TTL_MIN
  }

  note(test: Test, source: string): void {
    this.#begin()
    const pass = { ...this.#keyOf(test, source), minute: this.#minute }
    this.#put(pass)
    if (this.#untold !== undefined && this.#untold.length < MOST_UNTOLD) this.#untold.push(pass)
  }

  /** From now on what is noted is kept for other nodes, until it is taken. */
  share(): void {
    this.#untold ??= []
  }

  takeUntold(): readonly Pass[] {
    const taken = this.#untold ?? []
    if (this.#untold !== undefined) this.#untold = []
    return taken
  }

  /** Another node has told this. What comes from its future has happened now, and what is too old is left out. */
  hear({ set, word, minute }: Pass): void {
    this.#begin()
    const now = this.#minute
    if (word !== 0 && now - minute < TTL_MIN) this.#put({ set, word, minute: Math.min(minute, now) })
  }

  get fingerprint(): string {
    this.#begin()
    return fingerprintOf(this.#secret)
  }

  get #minute(): number {
    return Math.floor(this.#options.now() / 60_000)
  }

  /** Hashes under another secret have nothing in common with what is there. */
  #begin(): void {
    const secret = this.#options.secret()
    if (secret === this.#secret) return
    this.#secret = secret
    this.#words.fill(0)
    this.takeUntold()
  }

  #find(set: number, word: number): number {
    for (let place = set * WAYS; place < (set + 1) * WAYS; place++) if (this.#words[place] === word) return place
    return -1
  }

  /** At its own place, or an empty one, or that of the oldest. */
  #put({ set, word, minute }: Pass): void {
    if (this.#words.length === 0) {
      this.#words = new Uint32Array(this.#sets * WAYS)
      this.#minutes = new Uint32Array(this.#sets * WAYS)
    }
    const first = (set % this.#sets) * WAYS
    let room = first
    for (let place = first; place < first + WAYS; place++) {
      if (this.#words[place] === word) {
        this.#minutes[place] = Math.max(this.#minutes[place]!, minute)
        return
      }
      if (this.#minuteAt(place) < this.#minuteAt(room)) room = place
    }
    this.#words[room] = word
    this.#minutes[room] = minute
  }

  /** The minute of a place; one that is empty is older than all. */
  #minuteAt(place: number): number {
    return this.#words[place] === 0 ? -1 : this.#minutes[place]!
  }

  #keyOf(test: Test, source: string): Pick<Pass, 'set' | 'word'> {
    const digest = oneShot('sha256', `${this.#secret}\n${test}\n${source}`, 'buffer')
    return { set: digest.readUInt32LE(0), word: digest.readUInt32LE(4) || 1 }
  }
}
