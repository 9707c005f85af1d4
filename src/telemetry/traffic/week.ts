/**
 * What is normal in an hour of the week: connections, senders and messages a minute, learnt from every hour that passes.
 *
 * A flood must not teach that it is normal. So a minute of overload teaches nothing; of the others, one counts at most MOST_MINUTE
 * times their median; an hour that is known is moved a quarter of the way to what was seen, and what was seen counts at most
 * MOST_HOUR times what was known of it. A flood of a whole hour raises its hour by at most half, and the week after halves the mistake
 * again; a flood of a whole day meets each hour of the week once.
 *
 * An hour that is not known yet counts at most MOST_HOUR times the median of those that are, or times the same hour of the day before
 * where that is more. If it was more than that, it is doubtful: for a day it is no measure for others. Otherwise the hours of a flood
 * would raise the median, and the next ones could be higher still. The week after, less than it is believed at once.
 *
 * What nothing is known of is said to be so: until an hour of the week has come once, it is compared with the median of the hours that
 * are known, and until LEAST_HOURS are known with nothing. Hours are those of UTC.
 */
import { hourOf } from '../../core/time.ts'

export const MEASURES = ['connections', 'senders', 'messages'] as const
export type Measure = (typeof MEASURES)[number]
/** A minute. */
export type Rates = Readonly<Record<Measure, number>>

/** week: of the same hour of the week; hours: the median of all hours that are known, because that one is not. */
export interface Normal extends Rates {
  readonly basis: 'week' | 'hours'
  /** How many of the 168 hours of the week are known. */
  readonly hours: number
}

/** What is known of an hour of the week. */
export interface LearntHour extends Rates {
  /** When it came last, in whole hours since the epoch. */
  readonly hour: number
  /** It was far above what was known of others, and has not come again since. */
  readonly isDoubtful: boolean
}

/** Of a week. The first hour of the epoch was on a Thursday; which day is the first does not matter. */
export const HOURS = 168
export const LEAST_HOURS = 3
const DAY_HOURS = 24
/** What is older says nothing: five weeks. */
const OLDEST_HOURS = 5 * HOURS
const LEAST_MINUTES = 30
const MOST_MINUTE = 4
const MOST_HOUR = 3
const STEP = 1 / 4
/** Of a quiet site a few more are nothing unusual. */
const SMALL = 5

/** @returns 0 of nothing */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0
}

function usual(minutes: readonly number[]): number {
  const most = MOST_MINUTE * median(minutes) + SMALL
  return minutes.reduce((sum, each) => sum + Math.min(each, most), 0) / minutes.length
}

const each = (make: (measure: Measure) => number): Rates => ({
  connections: make('connections'),
  senders: make('senders'),
  messages: make('messages'),
})

const mostOf = (base: number): number => MOST_HOUR * base + SMALL

export class Week {
  readonly #hours = new Array<LearntHour | undefined>(HOURS).fill(undefined)
  #minutes: Rates[] = []
  #hour: number | undefined

  /** A minute has passed. @param at its end, in ms since the epoch @param isOverloaded it teaches nothing */
  minute(at: number, rates: Rates, isOverloaded: boolean): void {
    const hour = hourOf(at)
    if (this.#hour !== undefined && hour !== this.#hour) {
      this.#learn(this.#hour)
      this.#minutes = []
      if (hour < this.#hour) this.#forgetFrom(hour)
    }
    this.#hour = hour
    // A clock that is set back could bring more than there are.
    if (!isOverloaded && this.#minutes.length < 60) this.#minutes.push(rates)
  }

  /** @param at in ms since the epoch @returns undefined: too little is known */
  normal(at: number): Normal | undefined {
    const hour = hourOf(at)
    const own = this.#hours[hour % HOURS]
    const hours = this.hours
    if (own !== undefined) return { basis: 'week', hours, ...each((measure) => own[measure]) }
    const calm = this.#calm(hour)
    if (calm.length < LEAST_HOURS) return undefined
    return { basis: 'hours', hours, ...each((measure) => median(calm.map((rates) => rates[measure]))) }
  }

  /** How many of the 168 hours are known. */
  get hours(): number {
    return this.all().length
  }

  /** All that is known, at most 168. */
  all(): LearntHour[] {
    return this.#hours.filter((each) => each !== undefined)
  }

  /**
   * What was learnt before a restart, or elsewhere. The later of two that tell of the same hour of the week counts.
   * @param at in ms since the epoch: what is of the future, or too old, is no news
   */
  hear(told: LearntHour, at: number): void {
    const now = hourOf(at)
    if (told.hour >= now || told.hour <= now - OLDEST_HOURS) return
    const before = this.#hours[told.hour % HOURS]
    if (before === undefined || told.hour > before.hour) this.#hours[told.hour % HOURS] = told
  }

  /** Those that may be a measure for others. */
  #calm(hour: number): LearntHour[] {
    return this.all().filter((each) => !each.isDoubtful || hour - each.hour >= DAY_HOURS)
  }

  /** A clock that was ahead was set: what it has dated later has not come yet, and would keep what comes from being kept. */
  #forgetFrom(hour: number): void {
    this.#hours.forEach((each, i) => {
      if (each !== undefined && each.hour > hour) this.#hours[i] = undefined
    })
  }

  #learn(hour: number): void {
    if (this.#minutes.length < LEAST_MINUTES) return
    const seen = each((measure) => usual(this.#minutes.map((rates) => rates[measure])))
    const before = this.#hours[hour % HOURS]
    this.#hours[hour % HOURS] = before === undefined ? this.#first(hour, seen) : again(before, hour, seen)
  }

  /** An hour of the week that has come for the first time. */
  #first(hour: number, seen: Rates): LearntHour {
    const calm = this.#calm(hour)
    if (calm.length === 0) return { hour, isDoubtful: false, ...seen }
    const dayBefore = this.#hours[(hour - DAY_HOURS + HOURS) % HOURS]
    const most = each((measure) => {
      const others = calm.map((rates) => rates[measure])
      const usualOnes = calm.length < LEAST_HOURS ? Math.max(...others) : median(others)
      const then = dayBefore?.hour === hour - DAY_HOURS ? dayBefore[measure] : 0
      return mostOf(Math.max(usualOnes, then))
    })
    const isDoubtful = MEASURES.some((measure) => seen[measure] > most[measure])
    return { hour, isDoubtful, ...each((measure) => Math.min(seen[measure], most[measure])) }
  }
}

const again = (before: LearntHour, hour: number, seen: Rates): LearntHour => ({
  hour,
  isDoubtful: false,
  ...each((measure) => {
    const [was, is] = [before[measure], seen[measure]]
    if (before.isDoubtful && is < was) return is
    return was + STEP * (Math.min(is, mostOf(was)) - was)
  }),
})
