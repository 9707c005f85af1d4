/**
 * What is remembered of a client, or of a neighbourhood, and how it changes: pure rules, with the time as an argument.
 *
 * Two things are kept. `good` is how many good messages there were since the first; with the first and the last it says
 * for how long somebody has been a friend. The two weights say what came of the latest messages, because years of good
 * mail must not pay for today's spam:
 *
 * - A good message adds 1 to `recentGood`, a bad one 1 to `recentBad`.
 * - Together they never weigh more than `memory`: 25 for a client. What is over that is taken from both in proportion,
 *   so that each new message replaces a twenty-fifth of what was known before. A client with nothing but good mail
 *   behind it falls below 80 % good with the sixth bad message in a row, and below half with the eighteenth.
 * - `recentBad` halves with each day that passes: machines are cleaned up, and addresses go to others. Good mail does
 *   not fade, but whoever has taught nothing for HISTORY_TTL is forgotten altogether.
 *
 * What turns out to be wrong is taken back from the weights. `good` stays as it is: nodes tell each other's losses by it, since
 * it never falls. A standing asks for both (overload/standing.ts), so that good messages that were none are worth nothing.
 *
 * Times are in whole hours since 1970, so that they fit in a word.
 */
import { hourOf } from '../core/time.ts'

export interface Past {
  /** Good messages since `first`. */
  readonly good: number
  /** Of the latest messages, as of the later of `lastGood` and `lastBad`. */
  readonly recentGood: number
  readonly recentBad: number
  /** Hours of the first and the last good message, and of the last bad one; 0: there was none. */
  readonly first: number
  readonly lastGood: number
  readonly lastBad: number
  /**
   * A set of buckets, as the bits of a word. Of a domain, the networks that good mail came from fall into them (domains.ts); of a
   * neighbourhood, the addresses that were bad on the day of `lastBad` (neighbourhoods.ts).
   */
  readonly buckets?: number
  /** Of an IPv6 neighbourhood: the set of those that were good on the day of `lastGood`. It is not written. */
  readonly goodBuckets?: number
}

export const NO_PAST: Past = { good: 0, recentGood: 0, recentBad: 0, first: 0, lastGood: 0, lastBad: 0 }

/** Two that share a bucket count as one, so that what is counted is never too much. */
export const BUCKETS = 28

export const HOURS_A_DAY = 24
/** How many of its latest messages a client is judged by. */
export const OWN_MEMORY = 25
/** The same for a neighbourhood, which counts its addresses once a day each. */
export const NET_MEMORY = 100

/** The UTC day of an hour. */
export const dayOfHour = (hour: number): number => Math.floor(hour / HOURS_A_DAY)

export const lastOf = ({ lastGood, lastBad }: Past): number => Math.max(lastGood, lastBad)

/** Whether nothing was heard for so long that it no longer counts. */
export const isForgotten = (past: Past, hour: number, ttlHours: number): boolean => hour - lastOf(past) >= ttlHours

/** As it weighs at this hour. A clock that has stepped back changes nothing. */
export function aged(past: Past, hour: number): Past {
  const { recentBad } = past
  const hours = hour - lastOf(past)
  return recentBad === 0 || hours <= 0 ? past : { ...past, recentBad: faded(recentBad, hours) }
}

/** With no hour in the future, where a clock has stepped back. */
export const untilNow = (past: Past, hour: number): Past =>
  lastOf(past) <= hour
    ? past
    : { ...past, lastGood: Math.min(past.lastGood, hour), lastBad: Math.min(past.lastBad, hour) }

/** What there is to learn. */
export interface Lesson {
  /** Good messages, a whole number, 0 or more. */
  readonly good: number
  /** Bad ones, which may be parts of a message; below 0: so many were not bad after all. */
  readonly bad: number
  /** So many were not good after all; below 0: they were. */
  readonly undone?: number
}

/**
 * The past after another lesson. The hour may be a little before the last one: of several nodes one may tell late. What was bad
 * then weighs what is left of it.
 */
export function taught(past: Past, { good, bad, undone = 0 }: Lesson, hour: number, memory: number): Past {
  const before = aged(past, hour)
  const recentGood = Math.max(0, before.recentGood + good - undone)
  const recentBad = Math.max(0, before.recentBad + faded(bad, lastOf(past) - hour))
  const kept = Math.min(1, memory / (recentGood + recentBad))
  return { ...dated(past, { good, bad }, hour), recentGood: recentGood * kept, recentBad: recentBad * kept }
}

/**
 * The past after a lesson that comes long after its hour, from a log. It never replaces what newer messages have taught: where
 * it is older than the last one, it takes the room that those have left. So it hardly matters in which order logs are read.
 */
export function taughtLate(past: Past, lesson: Lesson, hour: number, memory: number): Past {
  const late = lastOf(past) - hour
  if (late <= 0) return taught(past, lesson, hour, memory)
  const bad = faded(lesson.bad, late)
  const room = Math.max(0, memory - past.recentGood - past.recentBad)
  const weight = lesson.good + bad
  const taken = weight > room ? room / weight : 1
  return {
    ...dated(past, lesson, hour),
    recentGood: past.recentGood + lesson.good * taken,
    recentBad: past.recentBad + bad * taken,
  }
}

/** The rule by which a past changes: taught() or taughtLate(). */
export type Rule = typeof taught

/**
 * For which hour a lesson counts, and by which rule.
 * @param hour this one
 * @param came when it came, in ms since the epoch, where that is not now: in the order in which logs are read
 */
export const lessonAt = (hour: number, came?: number): { readonly hour: number; readonly rule: Rule } =>
  came === undefined ? { hour, rule: taught } : { hour: Math.min(hour, hourOf(came)), rule: taughtLate }

/** What is left of a bad message after so many hours. */
export const faded = (bad: number, hours: number): number => (hours <= 0 ? bad : bad * 2 ** (-hours / HOURS_A_DAY))

/** The count and the hours after a lesson. */
function dated(
  { good, first, lastGood, lastBad }: Past,
  lesson: Lesson,
  hour: number,
): Omit<Past, 'recentGood' | 'recentBad'> {
  const isFirst = lesson.good > 0 && (first === 0 || first > hour)
  return {
    good: good + lesson.good,
    first: isFirst ? hour : first,
    lastGood: lesson.good > 0 ? Math.max(lastGood, hour) : lastGood,
    lastBad: lesson.bad > 0 ? Math.max(lastBad, hour) : lastBad,
  }
}
