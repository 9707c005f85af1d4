/**
 * What is remembered of neighbourhoods (/24, /48). Spam comes from addresses that are seen once, but from networks that send it for months
 * (S. Venkataraman et al., "Exploiting Network Structure for Proactive Spam Mitigation", USENIX Security 2007). So what a network has
 * sent says something about an address of it that nobody has met. overload/standing.ts says what follows.
 *
 * It is wider evidence than a client's own past, so it counts addresses and not messages: each address adds to the good of its
 * neighbourhood at most once a day, and so to the bad. One busy machine is not a neighbourhood.
 *
 * An address is good if it has sent at least two good messages, and as many good as bad ones lately; it is bad if it has just sent a bad
 * one, and more bad than good ones lately. In between it is neither. Of the spam that mail servers take, most comes from addresses that are
 * seen once: if each of them were a good one, the networks that send most spam would soon be the best. A provider's addresses send much,
 * and most of it good.
 *
 * Which addresses were bad today is kept as a set of 28 buckets into which they fall: two may share a bucket, so what is counted is never
 * too much. The set makes what nodes tell each other of bad addresses (neighbourhoods-sharing.ts) count once, however often it is told.
 * Of IPv6 a second set says which were good today, so that a /56 counts once for good, too: one machine may have all of it.
 * Of good mail nothing is told: a node hears of clients that have sent some (history-sharing.ts), and counts for itself.
 */
import { countOfBits } from '../core/bits.ts'
import { addressOf, netBits, readBits } from '../core/ip.ts'
import {
  aged,
  BUCKETS,
  dayOfHour,
  faded,
  HOURS_A_DAY,
  type Lesson,
  lastOf,
  NET_MEMORY,
  NO_PAST,
  type Past,
  type Rule,
  taught,
  untilNow,
} from './past.ts'
import { type MemoryOptions, PastTable } from './past-table.ts'
import { bitsIn, digitsOf } from './past-text.ts'
import type { Noted } from './shared-strings.ts'
import { ToldParts } from './told-parts.ts'

const ALL_BUCKETS = (1 << BUCKETS) - 1
/** In so many buckets of a day are bad addresses told. More would make no difference to a standing. */
const BUCKETS_TOLD = 6
/** What is not told to other nodes within a second is beyond what mail servers answer in that time. */
const MOST_UNTOLD = 16_384
/** So many bad addresses are kept longer than fewer: more of them make a suspect. */
const WORTH_KEEPING = 3
/** So many good messages make a good address. */
const GOOD_MESSAGES = 2
/** Networks in which somebody was forgiven today: operators' and users' own words. */
const MOST_FORGIVEN = 4096
const NOBODY = new Map<string, number>()
/** Less says nothing any more, and is not written: one bad address, two days later. */
const LEAST_BAD = 0.25

/** What a node says of a neighbourhood in which an address was bad. */
export interface BadNet {
  /** The bits of the network. See readBits in core/ip.ts. */
  readonly high: number
  readonly low: number
  /** Of the last bad address. */
  readonly hour: number
  /** Those of that day, as a set of buckets. */
  readonly buckets: number
  /** How many bad addresses there are at least, as they weigh in that hour. */
  readonly bad: number
}

interface NetLesson extends Pick<Lesson, 'good' | 'bad'> {
  readonly since: number
}

export const isNetKey = (key: string): boolean => key.startsWith('n')

/** As past-text.ts writes it. */
export const entryOf = ({ high, low, hour, buckets, bad }: BadNet): readonly [key: string, past: Past] => [
  `n${digitsOf(high, low)}`,
  { ...NO_PAST, recentBad: bad, lastBad: hour, buckets },
]

/** What entryOf made of it. */
export function netIn(key: string, { recentBad, lastBad, buckets = 0 }: Past): BadNet {
  const [high, low] = bitsIn(key)
  return { high, low, hour: lastBad, buckets, bad: recentBad }
}

/** Whether an address with this past is a good one in its neighbourhood. */
export const isGoodAddress = ({ good, recentGood, recentBad }: Past): boolean =>
  good >= GOOD_MESSAGES && recentGood > 0 && recentGood >= recentBad

/** Whether an address with this past is a bad one, if it has just sent something bad. */
export const isBadAddress = ({ recentGood, recentBad }: Past): boolean => recentBad > recentGood

export class Neighbourhoods implements Noted<BadNet> {
  readonly #table: PastTable
  readonly #bits = new Int32Array(2)
  /** By network, so that one is told once however much comes from it; undefined: there is nobody to tell. */
  #untold: Map<string, BadNet> | undefined
  readonly #parts = new ToldParts()
  readonly #forgiven = new Map<string, number>()
  #forgivenDay = 0
  /** Records are of addresses, and no secret goes into them. */
  readonly fingerprint = '1'

  constructor(options: MemoryOptions) {
    // None keeps its place for ever, but those that say something are worth more than those that do not.
    const worthOf = (past: Past, hour: number): number =>
      past.good > 0 || aged(past, hour).recentBad > WORTH_KEEPING ? 2 : 1
    this.#table = new PastTable({ ...options, worthOf, bucketSets: 2 })
  }

  /** What is remembered of the neighbourhood of this address, as it weighs now. @param ip canonical */
  of(ip: string): Past {
    return readBits(ip, this.#bits) ? aged(this.#table.get(this.#bits[0]!, this.#netBits), this.#table.hour) : NO_PAST
  }

  /**
   * An address has turned out to be good today, or bad. What it was today already counts once.
   * @param ip canonical @param lesson of the address: 0 or 1 each; `since`: the hour of its first good message
   * @param hour of it, not in the future @param rule for this hour
   */
  learn(ip: string, { good, bad, since }: NetLesson, hour: number, rule: Rule): void {
    const bits = this.#bits
    if (!readBits(ip, bits)) return
    const [high, low] = [bits[0]!, this.#netBits]
    const before = untilNow(this.#table.get(high, low), this.#table.hour)
    const bucket = bad > 0 ? bucketOf(bits[0]!, bits[1]!) : 0
    const badOnes = bucketsOn(dayOfHour(hour), before)
    const isCounted = (badOnes & bucket) !== 0
    const counted = good > 0 ? goodOn(dayOfHour(hour), bits[0]!, bits[1]!, before) : undefined
    const lesson = { good: counted?.good ?? 0, bad: isCounted ? 0 : bad }
    // A lesson of nothing would let what was bad fade without a date.
    const after = lesson.good + lesson.bad > 0 ? rule(before, lesson, hour, NET_MEMORY) : before
    const isLatest = dayOfHour(after.lastBad) === dayOfHour(hour)
    const buckets = isLatest ? badOnes | bucket : (before.buckets ?? 0)
    const first = good > 0 ? Math.min(since, after.first) : after.first
    const goodBuckets = counted?.goodBuckets ?? before.goodBuckets ?? 0
    const isPut = this.#table.put(high, low, { ...after, first, buckets, goodBuckets })
    if (!isPut || bucket === 0 || isCounted || !isLatest) return
    if (countOfBits(buckets) <= BUCKETS_TOLD) this.#note({ high, low, hour, buckets, bad: after.recentBad })
  }

  /**
   * An address that was called bad today is none, as somebody has found out. Of other days it is not known which were bad. Other nodes,
   * and this one after a restart, find it out for themselves.
   */
  forgive(ip: string): void {
    const bits = this.#bits
    if (!readBits(ip, bits)) return
    const [high, low] = [bits[0]!, this.#netBits]
    const before = untilNow(this.#table.get(high, low), this.#table.hour)
    const buckets = bucketsOn(dayOfHour(this.#table.hour), before)
    const bucket = bucketOf(bits[0]!, bits[1]!)
    if ((buckets & bucket) === 0) return
    const recentBad = Math.max(0, before.recentBad - 1)
    this.#table.put(high, low, { ...before, recentBad, buckets: buckets & ~bucket })
    const forgiven = this.#forgivenOn(dayOfHour(this.#table.hour))
    const net = addressOf(high, low)
    if (forgiven.size < MOST_FORGIVEN || forgiven.has(net)) forgiven.set(net, (forgiven.get(net) ?? 0) | bucket)
  }

  /** By network, the buckets that are not heard again from the records of this day. */
  #forgivenOn(day: number): Map<string, number> {
    const today = dayOfHour(this.#table.hour)
    if (this.#forgivenDay !== today) this.#forgiven.clear()
    this.#forgivenDay = today
    return day === today ? this.#forgiven : NOBODY
  }

  /** Another node has heard that an address was good on a day. @param own the past of the address */
  hearGood(high: number, low: number, own: Past): void {
    const net = netBits(high, low)
    const before = this.#table.get(high, net)
    const { good, goodBuckets } = goodOn(dayOfHour(own.lastGood), high, low, before)
    const after = good > 0 ? taught(before, { good, bad: 0 }, own.lastGood, NET_MEMORY) : before
    const first = Math.min(own.first, after.first)
    this.#table.put(high, net, { ...after, first, buckets: before.buckets ?? 0, goodBuckets })
  }

  /** Another node, or a file, says this. What is heard twice changes nothing. What comes from the future has happened now. */
  hear({ high, low, hour: told, buckets: said, bad }: BadNet): void {
    const hour = Math.min(told, this.#table.hour)
    const net = netBits(high, low)
    const before = untilNow(this.#table.get(high, net), this.#table.hour)
    const [day, dayBefore] = [dayOfHour(hour), dayOfHour(before.lastBad)]
    const forgiven = this.#forgivenOn(day).get(addressOf(high, net)) ?? 0
    const buckets = said & ALL_BUCKETS & ~forgiven
    const known = bucketsOn(day, before)
    const fresh = day < dayBefore ? 0 : countOfBits(buckets & ~known)
    // As both weigh at the later hour.
    const latest = Math.max(lastOf(before), hour)
    const held = aged(before, latest).recentBad
    // What others say in all has those in it that are forgiven here.
    const inAll = forgiven === 0 ? faded(bad, latest - hour) : 0
    const recentBad = Math.max(held + faded(fresh, latest - hour), inAll)
    if (recentBad <= held || faded(recentBad, this.#table.hour - latest) < LEAST_BAD) return
    this.#parts.take(high, day)
    this.#table.put(high, net, {
      ...before,
      recentBad: Math.min(NET_MEMORY, recentBad),
      lastBad: Math.max(before.lastBad, hour),
      buckets: day < dayBefore ? (before.buckets ?? 0) : known | buckets,
    })
  }

  /** Calls with those in which addresses were bad lately. @param part of so many */
  each(part: number, parts: number, see: (net: BadNet) => void): void {
    const hour = this.#table.hour
    this.#table.each(part, parts, (high, low, past) => {
      if (aged(past, hour).recentBad < LEAST_BAD) return
      // Good mail may have come later.
      const bad = Math.min(NET_MEMORY, past.recentBad * 2 ** ((lastOf(past) - past.lastBad) / HOURS_A_DAY))
      see({ high, low, hour: past.lastBad, buckets: past.buckets ?? 0, bad })
    })
  }

  sweep(part: number): void {
    this.#table.sweep(part)
  }

  share(): void {
    this.#untold ??= new Map()
  }

  takeUntold(): readonly BadNet[] {
    const taken = [...(this.#untold?.values() ?? [])]
    this.#untold?.clear()
    return taken
  }

  #note(net: BadNet): void {
    const untold = this.#untold
    const key = addressOf(net.high, net.low)
    if (untold === undefined || (untold.size >= MOST_UNTOLD && !untold.has(key))) return
    if (untold.has(key) || this.#parts.take(net.high, dayOfHour(net.hour))) untold.set(key, net)
  }

  /** The lower half of the network of the address that was read last. */
  get #netBits(): number {
    return netBits(this.#bits[0]!, this.#bits[1]!)
  }
}

/** Those that were bad on this day, as far as that is known. */
const bucketsOn = (day: number, { lastBad, buckets = 0 }: Past): number => (dayOfHour(lastBad) === day ? buckets : 0)

/** Whether a good address counts in its neighbourhood on this day, and the set of the good ones of the latest day with it. */
function goodOn(day: number, high: number, low: number, past: Past): { good: 0 | 1; goodBuckets: number } {
  const [latest, { goodBuckets: known = 0 }] = [dayOfHour(past.lastGood), past]
  // Of a day before the latest it is not known who was good.
  if (high === 0 || day < latest) return { good: 1, goodBuckets: known }
  const [buckets, bucket] = [day === latest ? known : 0, bucketOf(high, low)]
  return { good: (buckets & bucket) === 0 ? 1 : 0, goodBuckets: buckets | bucket }
}

/**
 * The same at all nodes. Of IPv4 it goes by the last octet. Of IPv6 it goes by the /56, which is what one customer of a shared /48 is given
 * (RFC 6177): with each /64 of theirs for itself, a single one would be four bad addresses.
 */
const bucketOf = (high: number, low: number): number =>
  1 << ((Math.imul(high === 0 ? low : low >>> 8, 0x9e37_79b1) >>> 8) % BUCKETS)
