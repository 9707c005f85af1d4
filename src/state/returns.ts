/**
 * What was put off lately (put-off.ts), by sender, recipient and network. Only hashes are kept, under the secret that all nodes
 * have agreed on (known-sharing.ts), so that what one node has put off comes back at any other (returns-sharing.ts).
 *
 * What is put off is charged to no limit, so a client could fill the table with made-up senders, and push out what others wait
 * with. So of one network no more than OF_ONE_NET are noted in a minute.
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

/** A message of a stranger, by what does not change when it is tried again. */
export interface Envelope {
  /** As the client sent it, without brackets; '' for the null sender. */
  readonly from: string
  /** The first recipient. */
  readonly to: string
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
  /** The two made last: whoever is put off is looked up and noted within a moment, by the message and perhaps by its sender. */
  #made: (Envelope & { readonly place: string; readonly key: Key })[] = []

  constructor(options: ReturnsOptions) {
    const { secret, now, seed, sets } = options
    this.#options = options
    this.#table = new PutOff(sets)
    this.#nets = new WindowTable({ capacity: NETS, windowMs: WINDOW_MS, seed })
    this.#secret = secret()
    this.#sweptAt = now()
  }

  /** @param domain the organisational domain of the client's name; undefined: it has none, or none is known yet */
  came(net: string, envelope: Envelope, domain?: string): Came {
    return this.#table.came(this.#placeOf(net, envelope, domain), this.#second, this.#after)
  }

  /** A message that has come back was let in. */
  spend(net: string, envelope: Envelope, domain?: string): void {
    this.#tell(this.#table.spend(this.#placeOf(net, envelope, domain), this.#second, this.#after), true)
  }

  /** A message was put off. @param key what keyOf made of it */
  note(net: string, key: Key): void {
    if (this.#nets.charge(net, this.#options.now(), OF_ONE_NET) > OF_ONE_NET) return
    this.#tell(this.#table.note(key, this.#second, this.#after), false)
  }

  /**
   * What a message is noted by. It may be kept for as long as a client stays, because it has nothing of what the client wrote.
   * @param domain see came
   */
  keyOf(net: string, envelope: Envelope, domain?: string): Key {
    return this.#keyIn(domain ?? net, envelope)
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

  /** Under its domain, if it has come back there; else under its network. */
  #placeOf(net: string, envelope: Envelope, domain: string | undefined): Key {
    const ofNet = this.#keyIn(net, envelope)
    if (domain === undefined) return ofNet
    const ofDomain = this.#keyIn(domain, envelope)
    return this.#table.came(ofDomain, this.#second, this.#after) === 'back' ? ofDomain : ofNet
  }

  /** No path contains a line break, so no two messages are written alike. @param place a network or a domain */
  #keyIn(place: string, { from, to }: Envelope): Key {
    this.#begin()
    const made = this.#made.find((each) => each.from === from && each.to === to && each.place === place)
    if (made !== undefined) return made.key
    const message = oneShot('sha256', `${this.#secret}\n${from}\n${to}`, 'buffer')
    const network = oneShot('sha256', `${this.#secret}\n${place}\n`, 'buffer')
    const key = {
      set: message.readUInt32LE(0),
      pair: message.readUInt32LE(4),
      net: network.readUInt32LE(0),
      isNamed: from !== '',
    }
    this.#made = [{ from, to, place, key }, ...this.#made.slice(0, 1)]
    return key
  }
}
