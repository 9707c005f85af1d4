/**
 * Recipients that a mail server has accepted in the last 30 days, and whether the cluster can still be believed when it
 * calls one of them unknown. After a directory or storage failure, mail servers often answer 550 5.1.1 for everybody.
 * If that were passed on, senders would give up for good. So while many recipients that were accepted recently are
 * suddenly unknown, "unknown" is not believed (unknown-guard.ts).
 *
 * A domain that accepts every address needs no entry for each recipient. Once a thousand of its mailboxes were accepted
 * and none was refused in 30 days, the domain itself is remembered, and all its recipients count as accepted recently.
 * As long as such a domain accepts everything, its answers are no evidence that the directory works. If it refuses a
 * recipient, either its directory has failed or it no longer accepts everything. It keeps its entry until refusals have
 * been heard for a minute without the guard, or for an hour with the guard for this domain alone. The entries of its
 * mailboxes stay: nobody can make us forget them by getting a thousand addresses of the domain accepted.
 *
 * Only keyed hashes are stored, in a table of fixed size that is shared fairly between domains (known-table.ts). If
 * Redis is set, all nodes share what they remember, and a restarted node finds it there (known-sharing.ts).
 */
import { hash as oneShot, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { domainOf, mailboxOf } from '../core/mailbox.ts'
import { DAY_MS } from '../core/time.ts'
import { dayOf, type Key, KnownTable, REMEMBERED_DAYS } from './known-table.ts'
import { HALF_MS, UnknownGuard } from './unknown-guard.ts'

/**
 * A domain accepts everything if this many of its mailboxes in a row were accepted for the first time and none was
 * refused.
 */
export const ACCEPTS_EVERYTHING = 1000
/**
 * How long refusals by a domain that accepts everything are doubted: without the guard, and while the guard holds for
 * it alone.
 */
const DOUBT_MS = 60_000
const LONG_DOUBT_MS = 3_600_000
/** The most domains in doubt at a time. For any more, the doubt begins with a later refusal. */
const MAX_DOUBTS = 4096
/** The number of domains whose hash is cached. */
const MAX_DOMAINS = 1024
const DOMAINS = 1 << 16

export interface KnownRecipients {
  /** Whether a mail server accepted this address within the last 30 days. */
  has(address: string): boolean
  /**
   * Whether the domain accepts every address, so that an accepted address says nothing about the client that named it.
   */
  acceptsEverything(address: string): boolean
  /** Learns from a mail server's answer, except while the guard holds for the recipient. */
  heard(address: string, answer: 'accepted' | 'unknown'): void
  /** Whether "unknown user" is not believed at the moment: for this address, or, without an address, for any. */
  guarding(address?: string): boolean
  /** When "unknown user" was last not believed for this address, in ms since the epoch; -Infinity: always believed so far. */
  guardedAt(address: string): number
}

export interface KnownRecipientsOptions {
  /** Sets of 128 recipients, 10 bytes each. */
  readonly sets?: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

interface Domain {
  readonly domain: number
  /** The key of the domain itself. */
  readonly key: Key
  readonly name: string
}

interface Doubt {
  readonly domain: Domain
  since: number
  /** Whether the guard has held since then, so that the directory may have failed. */
  guarded: boolean
}

export const createKnownRecipients = (options: KnownRecipientsOptions): SharedMemory => new SharedMemory(options)

/** What this node remembers, and what known-sharing.ts needs to share it. */
export class SharedMemory implements KnownRecipients {
  readonly #now: () => number
  readonly #table: KnownTable
  /** By domain: how many new mailboxes were accepted since the last refusal, and the day of that refusal. */
  readonly #accepted = new Uint16Array(DOMAINS)
  readonly #refusedOn = new Uint16Array(DOMAINS)
  readonly #domains = new LRUCache<string, Domain>({ max: MAX_DOMAINS })
  /** By mailbox. The hash costs more than all else that is done here for a recipient, and most mail goes to few mailboxes. */
  readonly #keys = new LRUCache<string, Key>({ max: MAX_DOMAINS })
  readonly #doubts = new Map<string, Doubt>()
  /** Sets that have changed since they were last shared. */
  readonly #changed = new Set<number>()
  readonly #guard = new UnknownGuard()
  /** 32 bytes, in hexadecimal. */
  #secret = randomBytes(32).toString('hex')

  constructor({ sets = 4096, now }: KnownRecipientsOptions) {
    this.#now = now
    this.#table = new KnownTable(sets)
  }

  has(address: string): boolean {
    this.#begin()
    const mailbox = mailboxOf(address)
    const domain = this.#domainOf(mailbox)
    return this.#table.find(this.#keyOf(mailbox, domain)) >= 0 || this.#acceptsEverything(domain)
  }

  acceptsEverything(address: string): boolean {
    this.#begin()
    return this.#acceptsEverything(this.#domainOf(mailboxOf(address)))
  }

  heard(address: string, answer: 'accepted' | 'unknown'): void {
    const at = this.#begin()
    const mailbox = mailboxOf(address)
    const domain = this.#domainOf(mailbox)
    const key = this.#keyOf(mailbox, domain)
    const place = this.#table.find(key)
    const isOpen = this.#acceptsEverything(domain)
    const isUnknown = answer === 'unknown'
    if (isOpen ? isUnknown : place >= 0) {
      // A recipient that has no place in the table gets a negative number.
      this.#guard.note(place >= 0 ? place : -1 - (key.high >>> 1), domain.domain, isUnknown, at)
    }
    if (this.#guard.holds(domain.domain, at)) {
      if (isOpen && isUnknown) this.#doubt(domain, at, true)
    } else if (isUnknown) this.#refused(domain, isOpen, at)
    else this.#learn(key, place, domain, isOpen)
  }

  guarding(address?: string): boolean {
    const at = this.#begin()
    return address === undefined
      ? this.#guard.anywhere(at)
      : this.#guard.holds(this.#domainOf(mailboxOf(address)).domain, at)
  }

  guardedAt(address: string): number {
    return this.#guard.heldAt(this.#domainOf(mailboxOf(address)).domain)
  }

  /** The secret that keys the hashes. */
  get secret(): string {
    return this.#secret
  }

  /** Changes to another secret. What was remembered under the previous one can no longer be found, so it is dropped. */
  adopt(secret: string): void {
    this.#secret = secret
    this.#table.clear()
    this.#accepted.fill(0)
    this.#refusedOn.fill(0)
    this.#domains.clear()
    this.#keys.clear()
    this.#doubts.clear()
    this.#changed.clear()
    this.#guard.clear()
  }

  get sets(): number {
    return this.#table.sets
  }

  /** Sets with news for other nodes. The caller removes a set when it shares it. */
  get changed(): Set<number> {
    return this.#changed
  }

  /** The records of a set; empty if it has none. */
  read(set: number): Buffer {
    this.#begin()
    return this.#table.read(set)
  }

  /** Adds another node's records of a set. */
  merge(set: number, records: Buffer): void {
    this.#begin()
    this.#table.merge(set, records)
  }

  /** Brings everything that depends on time up to date. */
  #begin(): number {
    const at = this.#now()
    this.#table.begin(dayOf(Math.floor(at / DAY_MS)))
    const { endsAt } = this.#guard
    if (at >= endsAt || at < endsAt - HALF_MS) {
      // First by what was noted up to the end of that half minute, and again if nothing was noted since.
      this.#weighDoubts(endsAt - 1)
      this.#guard.turn(at)
      if (at >= endsAt + HALF_MS) this.#weighDoubts(at)
    }
    return at
  }

  get #today(): number {
    return dayOf(Math.floor(this.#now() / DAY_MS))
  }

  #learn(key: Key, place: number, domain: Domain, isOpen: boolean): void {
    this.#put(isOpen ? domain.key : key, false)
    if (isOpen || place >= 0) return
    const { domain: of } = domain
    const accepted = Math.min(ACCEPTS_EVERYTHING, (this.#accepted[of] as number) + 1)
    this.#accepted[of] = accepted
    if (accepted === ACCEPTS_EVERYTHING && !this.#hasRefused(domain)) this.#put(domain.key, false)
  }

  #refused(domain: Domain, isOpen: boolean, at: number): void {
    this.#accepted[domain.domain] = 0
    this.#refusedOn[domain.domain] = this.#today
    if (isOpen) this.#doubt(domain, at, false)
  }

  /** Whether this node or another has heard a refusal from the domain in the last 30 days. */
  #hasRefused({ domain, key }: Domain): boolean {
    const day = this.#refusedOn[domain] as number
    if (day !== 0 && Math.abs(this.#today - day) <= REMEMBERED_DAYS) return true
    const place = this.#table.find(key)
    return place >= 0 && this.#table.isRefusal(place)
  }

  #acceptsEverything({ key }: Domain): boolean {
    const place = this.#table.find(key)
    return place >= 0 && !this.#table.isRefusal(place)
  }

  /** A domain that accepts everything has refused a recipient. */
  #doubt(domain: Domain, at: number, guarded: boolean): void {
    const known = this.#doubts.get(domain.name)
    if (known !== undefined) known.guarded ||= guarded
    else if (this.#doubts.size < MAX_DOUBTS) this.#doubts.set(domain.name, { domain, since: at, guarded })
  }

  #weighDoubts(at: number): void {
    if (this.#doubts.size === 0) return
    const everywhere = this.#guard.everywhere(at)
    for (const [name, doubt] of this.#doubts) {
      const { domain } = doubt
      const age = at - doubt.since
      const holds = this.#guard.holds(domain.domain, at)
      // After a step back of the clock, the wait begins again.
      if (age < 0) doubt.since = at
      // While the guard holds for everybody, an unknown recipient says nothing about this domain.
      if (!everywhere && age < (holds ? LONG_DOUBT_MS : DOUBT_MS)) continue
      this.#doubts.delete(name)
      if (everywhere || (doubt.guarded && !holds) || !this.#acceptsEverything(domain)) continue
      this.#put(domain.key, true)
    }
  }

  #put(key: Key, isRefusal: boolean): void {
    if (this.#table.put(key, isRefusal)) this.#changed.add(key.set)
  }

  #domainOf(mailbox: string): Domain {
    const name = domainOf(mailbox)
    const known = this.#domains.get(name)
    if (known !== undefined) return known
    // A mailbox cannot contain a line break, so that no mailbox has the hash of a domain.
    const digest = this.#digest(`\n${name}`)
    const domain = digest.readUInt16LE(12)
    const made = { name, domain, key: this.#keyFrom(digest, domain) }
    this.#domains.set(name, made)
    return made
  }

  #keyOf(mailbox: string, { domain }: Domain): Key {
    const known = this.#keys.get(mailbox)
    if (known !== undefined) return known
    const made = this.#keyFrom(this.#digest(mailbox), domain)
    this.#keys.set(mailbox, made)
    return made
  }

  #keyFrom(digest: Buffer, domain: number): Key {
    const set = digest.readUInt32LE(8) % this.#table.sets
    return { set, high: digest.readUInt32LE(0), low: digest.readUInt16LE(4), domain }
  }

  #digest(text: string): Buffer {
    return oneShot('sha256', this.#secret + text, 'buffer')
  }
}

/** Part of the names of the keys in Redis, so that data written under another secret is never mistaken for ours. */
export const fingerprintOf = (secret: string): string => oneShot('sha256', secret).slice(0, 12)
