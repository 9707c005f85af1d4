/**
 * Whether the cluster can be believed when it calls a recipient unknown that it took lately. What speaks against it is counted
 * over the last minute, each recipient once, however often it was asked for: one mailbox that was given up, and is still
 * written to by everybody, is no failed directory.
 *
 * Any of these is enough:
 * - of all recipients taken lately that were asked for, at least 20 and 5 % are unknown;
 * - the same within the recipient's own domain: then for that domain;
 * - at least 20, of which no domain counts more than five, in at least 5 % of the domains that were asked for.
 *
 * The second and third hold whatever is written to other domains. With the first alone, somebody who can have many addresses
 * of a domain accepted could write to them until nobody sees any more that the rest has failed.
 */

/** When at least so many recipients taken lately are called unknown within a minute … */
export const GUARD_COUNT = 20
/** … and they are at least this share of all recipients taken lately that were asked for. */
export const GUARD_SHARE = 0.05
/** Two halves make the window of a minute. */
export const HALF_MS = 30_000
/** So many at most does one domain count where domains are looked at side by side. */
const OF_ONE_DOMAIN = 5
const DOMAINS = 1 << 16
/** Recipients told apart in half a minute; of more, the first. */
const MAX_NOTED = 0xffff

/** What is older than a minute never counts. */
class Half {
  readonly asked = new Set<number>()
  readonly unknown = new Set<number>()
  readonly askedOf = new Uint16Array(DOMAINS)
  readonly unknownOf = new Uint16Array(DOMAINS)
  start = Number.NEGATIVE_INFINITY

  begin(start: number): void {
    this.start = start
    if (this.asked.size === 0) return
    for (const each of [this.asked, this.unknown]) each.clear()
    for (const each of [this.askedOf, this.unknownOf]) each.fill(0)
  }
}

export class UnknownGuard {
  #half = new Half()
  #before = new Half()
  /** Domains that were asked for, and those whose recipients are unknown; of the latter the recipients, at most five each. */
  #domains = 0
  #failing = 0
  #lost = 0

  /**
   * A recipient taken lately was asked for.
   * @param recipient a number of its own @param domain 16 bits @param at in ms
   */
  note(recipient: number, domain: number, isUnknown: boolean, at: number): void {
    this.turn(at)
    this.#weigh(domain, -1)
    this.#add('asked', recipient, domain)
    if (isUnknown) this.#add('unknown', recipient, domain)
    this.#weigh(domain, 1)
  }

  /** Whether "unknown" is not to be believed of a recipient of this domain. */
  holds(domain: number, at: number): boolean {
    return this.everywhere(at) || this.#isFailed(domain)
  }

  /** Whether it is not to be believed of anybody. */
  everywhere(at: number): boolean {
    this.turn(at)
    const [half, before] = [this.#half, this.#before]
    const unknown = half.unknown.size + before.unknown.size
    if (unknown < GUARD_COUNT) return false
    if (unknown >= GUARD_SHARE * (half.asked.size + before.asked.size)) return true
    return this.#lost >= GUARD_COUNT && this.#failing >= GUARD_SHARE * this.#domains
  }

  /** Whether there is any recipient of whom it is not to be believed. Looks through all domains: for the operator. */
  anywhere(at: number): boolean {
    if (this.everywhere(at)) return true
    if (this.#half.unknown.size + this.#before.unknown.size < GUARD_COUNT) return false
    for (let domain = 0; domain < DOMAINS; domain++) if (this.#isFailed(domain)) return true
    return false
  }

  /** When the half minute under way ends, in ms; until then nothing that was noted is let go. */
  get endsAt(): number {
    return (this.#half.start + 1) * HALF_MS
  }

  /** Lets go of what is older than the window. */
  turn(at: number): void {
    const start = Math.floor(at / HALF_MS)
    if (start === this.#half.start) return
    const old = this.#before
    this.#before = this.#half
    if (start !== this.#half.start + 1) this.#before.begin(start - 1)
    this.#half = old
    this.#half.begin(start)
    this.#recount()
  }

  clear(): void {
    for (const half of [this.#half, this.#before]) half.begin(Number.NEGATIVE_INFINITY)
    this.#recount()
  }

  #add(of: 'asked' | 'unknown', recipient: number, domain: number): void {
    const seen = this.#half[of]
    if (this.#before[of].has(recipient) || seen.has(recipient) || seen.size >= MAX_NOTED) return
    seen.add(recipient)
    this.#half[`${of}Of`][domain]!++
  }

  #asked(domain: number): number {
    return (this.#half.askedOf[domain] as number) + (this.#before.askedOf[domain] as number)
  }

  #unknown(domain: number): number {
    return (this.#half.unknownOf[domain] as number) + (this.#before.unknownOf[domain] as number)
  }

  #isFailed(domain: number): boolean {
    const unknown = this.#unknown(domain)
    return unknown >= GUARD_COUNT && unknown >= GUARD_SHARE * this.#asked(domain)
  }

  /** Puts what the domain counts into the sums, or takes it out. */
  #weigh(domain: number, sign: 1 | -1): void {
    const [asked, unknown] = [this.#asked(domain), this.#unknown(domain)]
    if (asked > 0) this.#domains += sign
    if (unknown === 0 || unknown < GUARD_SHARE * asked) return
    this.#failing += sign
    this.#lost += sign * Math.min(unknown, OF_ONE_DOMAIN)
  }

  #recount(): void {
    this.#domains = 0
    this.#failing = 0
    this.#lost = 0
    if (this.#half.asked.size + this.#before.asked.size === 0) return
    for (let domain = 0; domain < DOMAINS; domain++) this.#weigh(domain, 1)
  }
}
