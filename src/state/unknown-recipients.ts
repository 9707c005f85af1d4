/**
 * Recipients that a mail server has just called unknown, so that a directory harvest is answered from memory: with the
 * mail server's own words, and without asking it again. A recipient is remembered for a short while only, counted from
 * the mail server's reply, so that a mailbox that is new is found within that time. What is heard from memory prolongs
 * nothing.
 *
 * A recipient goes by the exact path that the mail server was asked about. Another spelling is another question: a mail
 * server that reads no quotes, no source routes or no `+` calls unknown in one spelling whom it knows in another, and
 * whoever names the odd spelling first must not make the right one bounce.
 *
 * Nothing is learnt of a recipient that was accepted lately: that reply is a sign that the directory fails, or
 * that a mailbox was closed, and the guard (known-recipients.ts) has to hear it each time. While the guard holds for a
 * recipient, nothing is answered or learnt, and what was learnt before is not believed afterwards: when a
 * directory fails, the guard needs twenty replies to see it.
 *
 * The table has a fixed size. A recipient belongs to one set of eight places by a keyed hash, and needs 18 bytes. When a
 * set is full, a further recipient of it is not remembered: that is one more question to the mail server. Words are kept
 * once for all recipients that heard the same, with the path cut out of them.
 */
import { hash as oneShot, randomBytes } from 'node:crypto'
import type { KnownRecipients } from './known-recipients.ts'

/** What a mail server said (RFC 5321 section 4.2), and which one, as the operator wrote it. */
export interface Said {
  readonly upstream: string
  readonly reply: { readonly code: number; readonly lines: readonly string[] }
}

/** How the client spelt it, and the address that it means. */
export interface Recipient {
  readonly path: string
  readonly address: string
}

const WAYS = 8
/** 128 Ki recipients, 2.3 MB: a harvest of 300 new names a second for five minutes. */
export const SETS = 1 << 14
/** Texts that are told apart, and the most characters of one. What is longer is not remembered. */
export const MOST_TEXTS = 2048
export const LONGEST_TEXT = 600
/** Where the path was. Replies are latin1, so that it is in none of them. */
const PATH = '\u0100'

interface Text {
  readonly key: string
  readonly upstream: string
  readonly code: number
  readonly lines: readonly string[]
  /** When it was last heard. No recipient of it is remembered for longer than from then on. */
  heardAt: number
}

export interface UnknownRecipientsOptions {
  /** How long a recipient is remembered, as it is set now, in milliseconds; undefined: not at all. */
  readonly ttlMs: () => number | undefined
  readonly known: Pick<KnownRecipients, 'has' | 'guarding' | 'guardedAt'>
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Sets of eight recipients; by default SETS. */
  readonly sets?: number
}

export class UnknownRecipients {
  readonly #options: UnknownRecipientsOptions
  readonly #sets: number
  readonly #secret = randomBytes(32).toString('hex')
  /** Of each place: the hash, when the mail server said it, and the number of the text. */
  readonly #hashes: Uint32Array
  readonly #heardAt: Float64Array
  readonly #textOf: Uint16Array
  #texts: Text[] = []
  #numbers = new Map<string, number>()
  /** No text is free before that. */
  #fullUntil = Number.NEGATIVE_INFINITY
  /** The time that everything was remembered under. */
  #ttlMs: number | undefined
  #last = { path: '', set: 0, high: 0, low: 0 }

  constructor(options: UnknownRecipientsOptions) {
    const { sets = SETS } = options
    this.#options = options
    this.#sets = sets
    this.#hashes = new Uint32Array(2 * WAYS * sets)
    this.#heardAt = new Float64Array(WAYS * sets).fill(Number.NEGATIVE_INFINITY)
    this.#textOf = new Uint16Array(WAYS * sets)
  }

  /** @returns what a mail server said of this recipient a short while ago; undefined: it has to be asked */
  get(recipient: Recipient): Said | undefined {
    const ttlMs = this.#begin()
    if (ttlMs === undefined || this.#texts.length === 0) return undefined
    const { known, now } = this.#options
    const at = now()
    const place = this.#find(recipient.path)
    if (place < 0 || !this.#isFresh(place, at, ttlMs)) return undefined
    const { address } = recipient
    if (known.guarding(address) || (this.#heardAt[place] as number) <= known.guardedAt(address)) return undefined
    // Another node may have heard meanwhile that it is known.
    if (known.has(address)) return undefined
    const { upstream, code, lines } = this.#texts[this.#textOf[place] as number] as Text
    return { upstream, reply: { code, lines: lines.map((line) => line.replaceAll(PATH, () => recipient.path)) } }
  }

  /** A mail server called the recipient unknown. */
  heard({ path, address }: Recipient, said: Said): void {
    const ttlMs = this.#begin()
    const { known, now } = this.#options
    if (ttlMs === undefined || known.guarding(address) || known.has(address)) return
    const at = now()
    const found = this.#find(path)
    const place = found >= 0 ? found : this.#room(at, ttlMs)
    const text = place < 0 ? undefined : this.#text(said, path, at, ttlMs)
    if (text === undefined) return
    this.#hashes[2 * place] = this.#last.high
    this.#hashes[2 * place + 1] = this.#last.low
    this.#heardAt[place] = at
    this.#textOf[place] = text
  }

  /** A mail server has accepted the recipient. */
  forget(path: string): void {
    if (this.#texts.length === 0) return
    const place = this.#find(path)
    if (place >= 0) this.#heardAt[place] = Number.NEGATIVE_INFINITY
  }

  /** How many recipients are remembered. It looks at every place, so it is only for the operator's gauge. */
  count(): number {
    const ttlMs = this.#begin()
    if (ttlMs === undefined || this.#texts.length === 0) return 0
    const at = this.#options.now()
    let count = 0
    for (let place = 0; place < this.#heardAt.length; place++) if (this.#isFresh(place, at, ttlMs)) count++
    return count
  }

  /** What was remembered under another time is forgotten. @returns the time */
  #begin(): number | undefined {
    const ttlMs = this.#options.ttlMs()
    if (ttlMs !== this.#ttlMs) {
      this.#ttlMs = ttlMs
      this.#heardAt.fill(Number.NEGATIVE_INFINITY)
      this.#texts = []
      this.#numbers = new Map()
      this.#fullUntil = Number.NEGATIVE_INFINITY
    }
    return ttlMs
  }

  /** A clock that was set back makes nothing last longer. */
  #isFresh(place: number, at: number, ttlMs: number): boolean {
    const age = at - (this.#heardAt[place] as number)
    return age >= 0 && age < ttlMs
  }

  /** @returns the recipient's place; -1 if it has none */
  #find(path: string): number {
    this.#read(path)
    const { set, high, low } = this.#last
    for (let place = set * WAYS; place < (set + 1) * WAYS; place++) {
      if (this.#hashes[2 * place] === high && this.#hashes[2 * place + 1] === low) return place
    }
    return -1
  }

  /** A place in the set of the recipient that was read last; -1 if all are taken. */
  #room(at: number, ttlMs: number): number {
    const { set } = this.#last
    for (let place = set * WAYS; place < (set + 1) * WAYS; place++) if (!this.#isFresh(place, at, ttlMs)) return place
    return -1
  }

  /** A recipient is asked about twice or three times in a row. */
  #read(path: string): void {
    if (path === this.#last.path) return
    const bytes = oneShot('sha256', this.#secret + path, 'buffer')
    const set = bytes.readUInt32LE(8) % this.#sets
    this.#last = { path, set, high: bytes.readUInt32LE(0), low: bytes.readUInt32LE(4) }
  }

  /** @returns the number of the text; undefined if there is no room for it */
  #text({ upstream, reply: { code, lines: said } }: Said, path: string, at: number, ttlMs: number): number | undefined {
    if (said.reduce((length, line) => length + line.length, 0) > LONGEST_TEXT) return undefined
    const lines = path === '' ? said : said.map((line) => line.replaceAll(path, PATH))
    const key = [upstream, code, ...lines].join('\n')
    const known = this.#numbers.get(key)
    const number = known ?? this.#freeNumber(at, ttlMs)
    if (number === undefined) return undefined
    const text = this.#texts[number]
    if (known === undefined) {
      if (text !== undefined) this.#numbers.delete(text.key)
      this.#numbers.set(key, number)
      this.#texts[number] = { key, upstream, code, lines, heardAt: at }
    } else if (text !== undefined) text.heardAt = Math.max(text.heardAt, at)
    return number
  }

  /** Of a text that no recipient has any more, if all are taken. They are looked through once for each that becomes free. */
  #freeNumber(at: number, ttlMs: number): number | undefined {
    if (this.#texts.length < MOST_TEXTS) return this.#texts.length
    if (at < this.#fullUntil) return undefined
    let oldest = 0
    for (let number = 1; number < this.#texts.length; number++) {
      if ((this.#texts[number] as Text).heardAt < (this.#texts[oldest] as Text).heardAt) oldest = number
    }
    const freeAt = (this.#texts[oldest] as Text).heardAt + ttlMs
    if (at >= freeAt) return oldest
    this.#fullUntil = freeAt
    return undefined
  }
}
