/**
 * Who has sent honest mail before, and who has not: what this node remembers of clients (by source) and of their neighbourhoods
 * (neighbourhoods.ts), and of the domains that their names are in (domains.ts). front/outcome.ts teaches it, an operator corrects it
 * (feedback.ts), overload/standing.ts says what follows.
 *
 * All tables have a fixed size (past-table.ts), so that neither memory nor the time of a lookup grows with the number
 * of addresses. A client that is known is never pushed out by strangers.
 */
import { REMEMBERED, type Remembered } from '../core/client.ts'
import { readBits } from '../core/ip.ts'
import { Domains, isDomainKey } from './domains.ts'
import { isBadAddress, isGoodAddress, Neighbourhoods } from './neighbourhoods.ts'
import { aged, dayOfHour, type Lesson, lessonAt, NO_PAST, OWN_MEMORY, type Past, type Rule, untilNow } from './past.ts'
import { type MemoryOptions, PastTable } from './past-table.ts'
import { bitsIn, digitsOf } from './past-text.ts'
import { type Untold, UntoldNotes, withUntold } from './untold.ts'

/** Room for a million known clients, with as much again for strangers, in 59 MB; divided among the workers of a node. */
export const CLIENTS = 1 << 21
const NETS = 1 << 18
/** In 4 MB. */
const DOMAINS = 1 << 17
const SWEEP_MS = 1000
/** Every address is weighed again within so many sweeps. */
const SWEEPS = 60

/** How many parts the table is read in. */
export const PARTS = 256

/** Whether an address with this past has counted as a good one on this day, or on a later one. */
const wasGoodOn = (day: number, past: Past): boolean => dayOfHour(past.lastGood) >= day && isGoodAddress(past)

export interface HistoryOptions extends Omit<MemoryOptions, 'capacity'> {
  /** What a client's own history makes of it, as of now. */
  readonly standingAlone: (own: Past) => Remembered
  /** How many clients have room. */
  readonly capacity?: number
}

export class History {
  readonly #clients: PastTable
  readonly #bits = new Int32Array(2)
  readonly #untold = new UntoldNotes()
  /** Taught by whoever knows the domain of a client, with what learn() returns. */
  readonly domains: Domains
  readonly nets: Neighbourhoods
  #isShared = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: HistoryOptions) {
    const { standingAlone, capacity = CLIENTS } = options
    const worthOf = (past: Past, hour: number): number => 1 + REMEMBERED.indexOf(standingAlone(aged(past, hour)))
    this.#clients = new PastTable({ ...options, capacity, worthOf })
    this.nets = new Neighbourhoods({ ...options, capacity: Math.max(1, Math.ceil(capacity / (CLIENTS / NETS))) })
    this.domains = new Domains({ ...options, capacity: Math.max(1, Math.ceil(capacity / (CLIENTS / DOMAINS))) })
  }

  /** What is remembered of the source of this address, as it weighs now. Allocates nothing for a stranger. @param ip canonical */
  own(ip: string): Past {
    return readBits(ip, this.#bits) ? aged(this.#held, this.#clients.hour) : NO_PAST
  }

  /** What is remembered of its neighbourhood. */
  net(ip: string): Past {
    return this.nets.of(ip)
  }

  /**
   * Learns what came of a message of this client, or what should have.
   * @param ip canonical
   * @param came as in lessonAt
   * @returns what counts in its neighbourhood, and in its domain: the address, good or bad, for the first time today
   */
  learn(ip: string, lesson: Lesson, came?: number): Lesson | undefined {
    if (lesson.good <= 0 && lesson.bad <= 0 && lesson.undone === undefined) return undefined
    if (!readBits(ip, this.#bits)) return undefined
    const now = this.#clients.hour
    const { hour, rule } = lessonAt(now, came)
    const before = untilNow(this.#held, now)
    // Whoever is not remembered would count in its neighbourhood again and again.
    const after = rule(before, lesson, hour, OWN_MEMORY)
    if (!this.#clients.put(this.#bits[0]!, this.#bits[1]!, after)) return undefined
    // With the first good message, others hear of the bad ones before it as well.
    if (this.#isShared && after.good > 0) this.#note(lesson, before.good === 0 ? aged(before, hour).recentBad : 0, hour)
    const today = dayOfHour(hour)
    this.#teachNet(ip, before, after, lesson, { hour, rule })
    const good = lesson.good > 0 && dayOfHour(before.lastGood) < today ? 1 : 0
    // A part of a message is no bad address: a list with some dead subscribers has them every day.
    const bad = lesson.bad >= 1 && dayOfHour(before.lastBad) < today ? 1 : 0
    if (good === 0 && bad === 0) return undefined
    return { good, bad }
  }

  /** What the past of an address was, and is, as its neighbourhood sees it. */
  #teachNet(ip: string, before: Past, after: Past, lesson: Lesson, at: { hour: number; rule: Rule }): void {
    const good = lesson.good > 0 && isGoodAddress(after) && !wasGoodOn(dayOfHour(at.hour), before) ? 1 : 0
    const isLate = dayOfHour(at.hour) < dayOfHour(before.lastBad)
    const bad = lesson.bad >= 1 && isBadAddress(after) && !isLate ? 1 : 0
    if (lesson.bad < 0 && isBadAddress(before) && !isBadAddress(after)) this.nets.forgive(ip)
    if (good > 0 || bad > 0) this.nets.learn(ip, { good, bad, since: after.first }, at.hour, at.rule)
  }

  /**
   * From now on what is learnt is noted for others until it is taken. Of clients that have never sent a good message nothing
   * is noted: a flood would fill what is shared, and every node finds them out by itself.
   */
  share(): void {
    this.#isShared = true
    this.domains.share()
  }

  /** What was learnt and not yet told, up to so many clients and domains; it is noted no longer. */
  takeUntold(count: number): Untold[] {
    const taken = this.#untold.take(count)
    return [...taken, ...this.domains.takeUntold(count - taken.length)]
  }

  /** Notes again what could not be told. */
  putBack(untold: readonly Untold[]): void {
    for (const each of untold) {
      if (isDomainKey(each.key)) this.domains.putBack(each)
      else this.#untold.add(each)
    }
  }

  get untold(): number {
    return this.#untold.size + this.domains.untold
  }

  /**
   * What all nodes together know of a client or a domain; what this one has not told yet is added.
   * @returns what this node knows instead, if that is more: others have lost it
   */
  hear(key: string, heard: Past): Past | undefined {
    if (isDomainKey(key)) return this.domains.hear(key, heard)
    const [high, low] = bitsIn(key)
    const hour = this.#clients.hour
    const before = this.#clients.get(high, low)
    // Others have heard a good message of it. What this node alone knows is bad, and has not been told.
    if (this.#isShared && before.good === 0 && before.recentBad > 0)
      this.#untold.add({ key, since: hour, hour, good: 0, bad: aged(before, hour).recentBad, undone: 0 })
    const untold = this.#untold.get(key)
    if (heard.good + (untold?.good ?? 0) < before.good) return before
    const past = untilNow(heard, hour)
    const after = untold === undefined ? past : withUntold(past, untold, OWN_MEMORY)
    if (this.#clients.isForgotten(after) || !this.#clients.put(high, low, after)) return undefined
    if (isGoodAddress(after) && !wasGoodOn(dayOfHour(after.lastGood), before)) this.nets.hearGood(high, low, after)
    return undefined
  }

  /** Calls with the clients and domains that have ever sent a good message, of one part of the tables. @param part from 0 to PARTS - 1 */
  each(part: number, see: (key: string, past: Past) => void): void {
    this.#clients.each(part, PARTS, (high, low, past) => {
      if (past.good > 0 && !this.#clients.isForgotten(past)) see(digitsOf(high, low), past)
    })
    this.domains.each(part, PARTS, see)
  }

  /** How many clients are remembered, by what their own history makes of them; up to a minute old. */
  count(standing: Remembered): number {
    return this.#clients.count(1 + REMEMBERED.indexOf(standing))
  }

  /** Whether no client is remembered; up to a minute old. */
  get isEmpty(): boolean {
    return REMEMBERED.every((standing) => this.count(standing) === 0)
  }

  /** Begins to forget. */
  start(): void {
    this.#timer ??= setInterval(() => this.sweep(1 / SWEEPS), SWEEP_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Weighs a part of what is remembered again. */
  sweep(part: number): void {
    if (this.isEmpty) return
    this.#clients.sweep(part)
    this.nets.sweep(part)
    this.domains.sweep(part)
  }

  #note({ good, bad, undone = 0 }: Lesson, earlier: number, hour: number): void {
    this.#untold.add({
      key: digitsOf(this.#bits[0]!, this.#bits[1]!),
      since: hour,
      hour,
      good,
      bad: bad + earlier,
      undone,
    })
  }

  /** What is remembered of the source whose bits were read last, as it weighed after the last lesson. */
  get #held(): Past {
    return this.#clients.get(this.#bits[0]!, this.#bits[1]!)
  }
}
