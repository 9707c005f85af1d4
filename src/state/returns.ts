/**
 * What was put off lately (put-off.ts), by sender, recipient and network. Only hashes are kept, under the secret that all nodes
 * have agreed on (known-sharing.ts), so that what one node has put off comes back at any other (returns-sharing.ts).
 *
 * What is put off is charged to no limit, so a client could fill the table with made-up senders, and push out what others wait
 * with. So of one network no more than OF_ONE_NET are noted in a minute.
 *
 * A message that was put off at MAIL is noted by its sender, since no recipient was heard. A mail server may have several of one sender, and what
 * was put off at MAIL may be let in to its recipient at the next try, as its client or its network has become another meanwhile. So
 *
 *     put off at MAIL    the sender is noted, under the first of OF_ONE_SENDER numbers that is free. Each is good for one return, as
 *                        a message is, but from the same network or domain only: a sender alone that comes from elsewhere says too little
 *     put off at RCPT    the message is noted, and its sender under a number of its own (HEARD). This one counts for nothing: it shows at MAIL
 *                        that a message of this sender waits, which then gets to its recipient
 *
 * Two processes that have not heard of each other yet may take the same number for two messages, which is one return less. So each begins with another one.
 *
 * A provider with many networks is one place if the domain of its name is known (dns/organisation.ts): then what is put off is
 * noted for the domain, and else for the network. What comes is looked for in both, since the name may have been unknown before.
 */
import { hash as oneShot } from 'node:crypto'
import type { Came } from '../core/overload.ts'
import { fingerprintOf } from './known-recipients.ts'
import { type Key, type Note, PutOff } from './put-off.ts'
import { WindowTable } from './table.ts'

/** Five a second. It takes more than 200 networks that do nothing else to fill the table within an hour. */
const OF_ONE_NET = 300
const WINDOW_MS = 60_000
const NETS = 1 << 16
/** What is not told to other nodes within a second is beyond what any flood brings to one. */
const MOST_UNTOLD = 16_384
/** What mail servers have of one sender at a time, unless they are busy. What is beyond that is put off once more. */
const OF_ONE_SENDER = 8
/** The number under which a sender is noted of which a recipient was heard. */
const HEARD = OF_ONE_SENDER
/** Far apart, and others for each number. */
const STEP = 0x9e37_79b1
/** Hashes that are kept: of a message, its sender, its network and its domain. What is put off is looked up and noted within a moment. */
const MADE = 4

/** A message of a stranger, by what does not change when it is tried again. */
export interface Envelope {
  /** As the client sent it, without brackets; '' for the null sender. */
  readonly from: string
  /** The recipient that it is asked about with; '' at MAIL, where none was heard. */
  readonly to: string
}

/** What a message that was put off is noted by; nothing of what the client wrote is in it. */
export interface Keys {
  /** Absent: it was put off at MAIL. */
  readonly message?: Key
  /** Absent: its sender is null. */
  readonly sender?: Key
}

/** What one node tells others. */
export interface Told extends Note {
  /** It was let in: its refusal is used up. */
  readonly isSpent: boolean
}

export interface ReturnsOptions {
  /** What the hashes are keyed with. It may change, and then all is forgotten. */
  readonly secret: () => string
  /** How soon a message may come back and count, in milliseconds. */
  readonly afterMs: () => number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Eight secret random bytes. */
  readonly seed: Uint8Array
  /** Sets of eight messages; by default as many as put-off.ts has. */
  readonly sets?: number
}

export class Returns {
  readonly #options: ReturnsOptions
  readonly #table: PutOff
  readonly #nets: WindowTable
  #secret: string
  #untold: Told[] | undefined
  #sweptAt: number
  /** Those made last. */
  #made: { readonly text: string; readonly words: readonly [number, number] }[] = []
  /** Where the next sender looks for a free number first. */
  #next: number

  constructor(options: ReturnsOptions) {
    const { secret, now, seed, sets } = options
    this.#options = options
    this.#table = new PutOff(sets)
    this.#nets = new WindowTable({ capacity: NETS, windowMs: WINDOW_MS, seed })
    this.#secret = secret()
    this.#next = seed[0] as number
    this.#sweptAt = now()
  }

  /** @param domain the organisational domain of the client's name; undefined: it has none, or none is known yet */
  came(net: string, envelope: Envelope, domain?: string): Came {
    return this.#find(net, envelope, domain).came
  }

  /** A message that has come back was let in. What it has come back by is used up. */
  spend(net: string, envelope: Envelope, domain?: string): void {
    const { key } = this.#find(net, envelope, domain)
    if (key !== undefined) this.#tell(this.#table.spend(key, this.#second, this.#after), true)
  }

  /** A message was put off. @param keys what keysOf made of it */
  note(net: string, { message, sender }: Keys): void {
    if (this.#nets.charge(net, this.#options.now(), OF_ONE_NET) > OF_ONE_NET) return
    const bySender = sender && (message === undefined ? this.#free(sender) : numbered(sender, HEARD))
    for (const key of [message, bySender]) {
      if (key !== undefined) this.#tell(this.#table.note(key, this.#second, this.#after), false)
    }
  }

  /**
   * What a message is noted by. It may be kept for as long as a client stays.
   * @param domain see came
   */
  keysOf(net: string, { from, to }: Envelope, domain?: string): Keys {
    const place = domain ?? net
    return {
      ...(to !== '' && { message: this.#keyIn(place, from, to) }),
      ...(from !== '' && { sender: this.#keyIn(place, from, '') }),
    }
  }

  /** Forgets what is too old, little by little; called about once a second. */
  sweep(): void {
    const now = this.#options.now()
    this.#table.sweep(this.#second, Math.max(0, now - this.#sweptAt) / 1000)
    this.#sweptAt = now
  }

  /** From now on what happens is noted for other nodes, until it is taken. */
  share(): void {
    this.#untold ??= []
  }

  /** What others have not been told yet; it is noted no longer. */
  takeUntold(): readonly Told[] {
    const taken = this.#untold ?? []
    if (this.#untold !== undefined) this.#untold = []
    return taken
  }

  /** Another node has told this. */
  hear(told: Told): void {
    this.#begin()
    if (told.isSpent) this.#table.forget(told)
    else this.#table.hear(told, this.#second, this.#after)
  }

  /** What hashes under the same secret have in common. */
  get fingerprint(): string {
    this.#begin()
    return fingerprintOf(this.#secret)
  }

  get #second(): number {
    return Math.floor(this.#options.now() / 1000)
  }

  get #after(): number {
    return Math.ceil(this.#options.afterMs() / 1000)
  }

  /** Hashes under another secret have nothing in common with what is there. */
  #begin(): void {
    const secret = this.#options.secret()
    if (secret === this.#secret) return
    this.#secret = secret
    this.#made = []
    this.#table.clear()
    this.takeUntold()
  }

  #tell(note: Note | undefined, isSpent: boolean): void {
    const untold = this.#untold
    if (note !== undefined && untold !== undefined && untold.length < MOST_UNTOLD) untold.push({ ...note, isSpent })
  }

  /** By what it has come back: by the message, or by its sender. At MAIL any note of the sender will do. */
  #find(net: string, { from, to }: Envelope, domain: string | undefined): Found {
    const places = domain === undefined ? [net] : [domain, net]
    if (to !== '') {
      const byMessage = this.#best(places.map((place) => this.#keyIn(place, from, to)))
      if (byMessage.came !== 'first' || from === '') return byMessage
    }
    const numbers = to === '' ? HEARD + 1 : OF_ONE_SENDER
    const senders = places.map((place) => this.#keyIn(place, from, ''))
    const bySender = this.#best(senders.flatMap((key) => Array.from({ length: numbers }, (_, n) => numbered(key, n))))
    return to === '' || bySender.came === 'back' ? bySender : NOT_FOUND
  }

  /** From its own domain or network, or else from another. */
  #best(keys: readonly Key[]): Found {
    let found = NOT_FOUND
    for (const key of keys) {
      const came = this.#table.came(key, this.#second, this.#after)
      if (came === 'back') return { came, key }
      if (came === 'elsewhere') found = { came, key }
    }
    return found
  }

  /** Under a number that is not in use; undefined: all are. */
  #free(sender: Key): Key | undefined {
    const first = this.#next++
    for (let i = 0; i < OF_ONE_SENDER; i++) {
      const key = numbered(sender, (first + i) % OF_ONE_SENDER)
      if (!this.#table.holds(key, this.#second)) return key
    }
    return undefined
  }

  /** No path contains a line break, so no two messages are written alike. @param place a network or a domain */
  #keyIn(place: string, from: string, to: string): Key {
    this.#begin()
    const [set, pair] = this.#hash(`${from}\n${to}`)
    const [net] = this.#hash(`${place}\n`)
    return { set, pair, net, isNamed: from !== '' }
  }

  #hash(text: string): readonly [number, number] {
    const made = this.#made.find((each) => each.text === text)
    if (made !== undefined) return made.words
    const hash = oneShot('sha256', `${this.#secret}\n${text}`, 'buffer')
    const words = [hash.readUInt32LE(0), hash.readUInt32LE(4)] as const
    this.#made = [{ text, words }, ...this.#made.slice(0, MADE - 1)]
    return words
  }
}

interface Found {
  readonly came: Came
  readonly key?: Key
}
const NOT_FOUND: Found = { came: 'first' }

/** The same sender in the same place, as another of its messages. */
const numbered = (sender: Key, number: number): Key => ({
  ...sender,
  set: (sender.set + Math.imul(number, STEP)) >>> 0,
})
