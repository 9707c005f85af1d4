/**
 * Whether the cluster can be believed when it calls a recipient unknown that it accepted recently. The evidence is what
 * was heard in the last minute. Each recipient counts once, however often it is named: one closed mailbox that still
 * gets mail from everywhere does not mean that the directory has failed.
 *
 * Any of these is enough evidence of a failed directory:
 * - Of all recipients accepted recently that were named, at least 20 and at least 5 % are unknown. Then "unknown" is
 *   not believed for anybody.
 * - The same within one domain. Then it is not believed for that domain.
 * - At least 20 are unknown, counting at most five per domain, in at least 5 % of the domains that were named. Then it
 *   is not believed for anybody.
 *
 * The second and the third work whatever mail other domains get. With the first alone, an attacker who can get many
 * addresses of one domain accepted could send to them until the failure for everybody else no longer shows.
 */

/** How many recipients accepted recently must be unknown within a minute … */
export const GUARD_COUNT = 20
/** … and what share of all recipients accepted recently that were named. */
const GUARD_SHARE = 0.05
/** Two halves make up the window of a minute. */
export const HALF_MS = 30_000
/** The most unknown recipients that count for one domain when domains are compared. */
const OF_ONE_DOMAIN = 5
const DOMAINS = 1 << 16
/** How many recipients are told apart in half a minute. Any more are not counted. */
const MAX_NOTED = 0xffff

/** What was noted in one half of the window. */
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
  /**
   * How many domains were named, how many of them fail, and how many recipients those call unknown, at most five each.
   */
  #domains = 0
  #failing = 0
  #lost = 0
  /** When "unknown" was last not believed: for any recipient, and by domain. */
  #heldAt = Number.NEGATIVE_INFINITY
  readonly #heldAtOf = new Map<number, number>()

  /**
   * A recipient accepted recently was named.
   * @param recipient a number that no other recipient has @param domain 16 bits @param at in ms
   */
  note(recipient: number, domain: number, isUnknown: boolean, at: number): void {
    this.turn(at)
    this.#weigh(domain, -1)
    this.#add('asked', recipient, domain)
    if (isUnknown) this.#add('unknown', recipient, domain)
    this.#weigh(domain, 1)
  }

  /** Whether "unknown" is not believed for recipients of this domain. */
  holds(domain: number, at: number): boolean {
    if (this.everywhere(at)) this.#heldAt = at
    else if (this.#isFailed(domain)) this.#heldAtOf.set(domain, at)
    else return false
    return true
  }

  /** When `holds` was last true for this domain, in ms. */
  heldAt(domain: number): number {
    return Math.max(this.#heldAt, this.#heldAtOf.get(domain) ?? Number.NEGATIVE_INFINITY)
  }

  /** Whether "unknown" is not believed for any recipient at all. */
  everywhere(at: number): boolean {
    this.turn(at)
    const [half, before] = [this.#half, this.#before]
    const unknown = half.unknown.size + before.unknown.size
    if (unknown < GUARD_COUNT) return false
    if (unknown >= GUARD_SHARE * (half.asked.size + before.asked.size)) return true
    return this.#lost >= GUARD_COUNT && this.#failing >= GUARD_SHARE * this.#domains
  }

  /**
   * Whether "unknown" is not believed for some recipient. It checks every domain, so it is only for the operator's
   * gauges.
   */
  anywhere(at: number): boolean {
    if (this.everywhere(at)) return true
    if (this.#half.unknown.size + this.#before.unknown.size < GUARD_COUNT) return false
    for (let domain = 0; domain < DOMAINS; domain++) if (this.#isFailed(domain)) return true
    return false
  }

  /** When the current half minute ends, in ms. Until then nothing is forgotten. */
  get endsAt(): number {
    return (this.#half.start + 1) * HALF_MS
  }

  /** Forgets what is older than the window. */
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
    this.#heldAt = Number.NEGATIVE_INFINITY
    this.#heldAtOf.clear()
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

  /** Adds the domain to the sums, or subtracts it. */
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
