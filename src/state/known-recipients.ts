/**
 * Recipients that an upstream has taken in the last 30 days, and whether the cluster can still be believed when it calls one
 * unknown. A directory or storage failure often makes mail servers answer 550 5.1.1 to everybody; passed on, senders would
 * give up for good. So where many of the recipients taken lately are suddenly unknown, "unknown" is not believed until that
 * stops (unknown-guard.ts).
 *
 * A domain whose servers take everything needs no entry for each recipient: when a thousand of its mailboxes were taken and
 * not one refused in 30 days, the domain itself is remembered, and all its recipients count as taken lately. They say
 * nothing of the directory while they are taken, so they are no reason to believe it either. An "unknown" of such a
 * domain is what a failed directory looks like, so that the domain takes everything is given up only when it has been told
 * so for a minute without the guard, or for an hour with a guard for this domain alone. What was remembered of its mailboxes
 * before stays: whoever can have a thousand addresses of somebody else's domain taken makes nothing be forgotten.
 *
 * Only keyed hashes are kept, in a table of fixed size that is shared out by domain (known-table.ts). Where there is a Redis,
 * all nodes share it, and a node that starts again finds it there (known-sharing.ts).
 */
import { hash as oneShot, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { domainOf, mailboxOf } from '../core/mailbox.ts'
import { dayOf, type Key, KnownTable, REMEMBERED_DAYS } from './known-table.ts'
import { HALF_MS, UnknownGuard } from './unknown-guard.ts'

export { REMEMBERED_DAYS } from './known-table.ts'
export { GUARD_COUNT } from './unknown-guard.ts'

const DAY_MS = 86_400_000
/** Mailboxes of one domain, none of them known before, that were taken with no other refused. */
export const TAKES_EVERYTHING = 1000
/** How long the refusals of a domain that takes everything are doubted: without the guard, and with one for it alone. */
const DOUBT_MS = 60_000
const LONG_DOUBT_MS = 3_600_000
/** Domains doubted at once; of more, the doubt is no older than the next refusal. */
const MAX_DOUBTS = 4096
/** Domains whose hash is kept. */
const MAX_DOMAINS = 1024
const DOMAINS = 1 << 16

export interface KnownRecipients {
  /** Whether an upstream took this address within the last 30 days. */
  has(address: string): boolean
  /** Whether the address's domain takes everything: then that it was taken says nothing of the client who named it. */
  takesEverything(address: string): boolean
  /** Learns an upstream's answer: taken, or "no such user". Nothing is learned of whom the guard holds for. */
  heard(address: string, answer: 'taken' | 'unknown'): void
  /** Whether the upstreams' "unknown user" is not to be believed at present: of this address; without one, of anybody. */
  guarding(address?: string): boolean
}

export interface KnownRecipientsOptions {
  /** Sets of 128 recipients, 10 bytes each. */
  readonly sets?: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

interface Domain {
  readonly domain: number
  /** Of the domain itself. */
  readonly key: Key
  readonly name: string
}

interface Doubt {
  readonly domain: Domain
  since: number
  /** Whether the guard has held since: then it may be the directory. */
  guarded: boolean
}

export const createKnownRecipients = (options: KnownRecipientsOptions): SharedMemory => new SharedMemory(options)

/** What this node remembers, and what known-sharing.ts reads and writes of it. */
export class SharedMemory implements KnownRecipients {
  readonly #now: () => number
  readonly #table: KnownTable
  /** Mailboxes taken since the last refusal, and the day of that, by domain. */
  readonly #taken = new Uint16Array(DOMAINS)
  readonly #refusedOn = new Uint16Array(DOMAINS)
  readonly #domains = new LRUCache<string, Domain>({ max: MAX_DOMAINS })
  readonly #doubts = new Map<string, Doubt>()
  /** Sets that have changed since they were shared. */
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
    return this.#table.find(this.#keyOf(mailbox, domain)) >= 0 || this.#takesEverything(domain)
  }

  takesEverything(address: string): boolean {
    this.#begin()
    return this.#takesEverything(this.#domainOf(mailboxOf(address)))
  }

  heard(address: string, answer: 'taken' | 'unknown'): void {
    const at = this.#begin()
    const mailbox = mailboxOf(address)
    const domain = this.#domainOf(mailbox)
    const key = this.#keyOf(mailbox, domain)
    const place = this.#table.find(key)
    const isOpen = this.#takesEverything(domain)
    const isUnknown = answer === 'unknown'
    if (isOpen ? isUnknown : place >= 0) {
      // Recipients without a place get a number below 0.
      this.#guard.note(place >= 0 ? place : -1 - (key.high >>> 1), domain.domain, isUnknown, at)
    }
    if (this.#guard.holds(domain.domain, at)) {
      if (isOpen && isUnknown) this.#doubt(domain, at, true)
    } else if (isUnknown) this.#refused(domain, isOpen, at)
    else this.#accepted(key, place, domain, isOpen)
  }

  guarding(address?: string): boolean {
    const at = this.#begin()
    return address === undefined
      ? this.#guard.anywhere(at)
      : this.#guard.holds(this.#domainOf(mailboxOf(address)).domain, at)
  }

  /** Of the hashes. */
  get secret(): string {
    return this.#secret
  }

  /** Goes over to another secret. What was remembered by the one before can no longer be found, and is gone. */
  adopt(secret: string): void {
    this.#secret = secret
    this.#table.clear()
    this.#taken.fill(0)
    this.#refusedOn.fill(0)
    this.#domains.clear()
    this.#doubts.clear()
    this.#changed.clear()
    this.#guard.clear()
  }

  get sets(): number {
    return this.#table.sets
  }

  /** Sets that others have not heard of yet; who shares one takes it out. */
  get changed(): Set<number> {
    return this.#changed
  }

  /** What this node remembers of a set; empty: nothing. */
  read(set: number): Buffer {
    this.#begin()
    return this.#table.read(set)
  }

  /** Takes in what another node remembers of a set. */
  merge(set: number, records: Buffer): void {
    this.#begin()
    this.#table.merge(set, records)
  }

  /** Brings what depends on time up to date. */
  #begin(): number {
    const at = this.#now()
    this.#table.begin(dayOf(Math.floor(at / DAY_MS)))
    const { endsAt } = this.#guard
    if (at >= endsAt || at < endsAt - HALF_MS) {
      // By all that was noted until then; and once more where nothing was noted since.
      this.#weighDoubts(endsAt - 1)
      this.#guard.turn(at)
      if (at >= endsAt + HALF_MS) this.#weighDoubts(at)
    }
    return at
  }

  get #today(): number {
    return dayOf(Math.floor(this.#now() / DAY_MS))
  }

  #accepted(key: Key, place: number, domain: Domain, isOpen: boolean): void {
    this.#put(isOpen ? domain.key : key, false)
    if (isOpen || place >= 0) return
    const { domain: of } = domain
    const taken = Math.min(TAKES_EVERYTHING, (this.#taken[of] as number) + 1)
    this.#taken[of] = taken
    if (taken === TAKES_EVERYTHING && !this.#hasRefused(domain)) this.#put(domain.key, false)
  }

  #refused(domain: Domain, isOpen: boolean, at: number): void {
    this.#taken[domain.domain] = 0
    this.#refusedOn[domain.domain] = this.#today
    if (isOpen) this.#doubt(domain, at, false)
  }

  /** Whether a recipient of the domain was refused in the last 30 days, as far as this node or another knows. */
  #hasRefused({ domain, key }: Domain): boolean {
    const day = this.#refusedOn[domain] as number
    if (day !== 0 && Math.abs(this.#today - day) <= REMEMBERED_DAYS) return true
    const place = this.#table.find(key)
    return place >= 0 && this.#table.isRefusal(place)
  }

  #takesEverything({ key }: Domain): boolean {
    const place = this.#table.find(key)
    return place >= 0 && !this.#table.isRefusal(place)
  }

  /** A recipient of a domain that takes everything was refused. */
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
      // A clock that has gone back begins anew.
      if (age < 0) doubt.since = at
      // Where everybody is unknown, that says nothing of this domain.
      if (!everywhere && age < (holds ? LONG_DOUBT_MS : DOUBT_MS)) continue
      this.#doubts.delete(name)
      if (everywhere || (doubt.guarded && !holds) || !this.#takesEverything(domain)) continue
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
    // No mailbox has a line break in it.
    const digest = this.#digest(`\n${name}`)
    const domain = digest.readUInt16LE(12)
    const made = { name, domain, key: this.#keyFrom(digest, domain) }
    this.#domains.set(name, made)
    return made
  }

  #keyOf(mailbox: string, { domain }: Domain): Key {
    return this.#keyFrom(this.#digest(mailbox), domain)
  }

  #keyFrom(digest: Buffer, domain: number): Key {
    const set = digest.readUInt32LE(8) % this.#table.sets
    return { set, high: digest.readUInt32LE(0), low: digest.readUInt16LE(4), domain }
  }

  #digest(text: string): Buffer {
    return oneShot('sha256', this.#secret + text, 'buffer')
  }
}

/** What keys in Redis are called by, so that what was written with another secret is never taken for ours. */
export const fingerprintOf = (secret: string): string => oneShot('sha256', secret).slice(0, 12)
