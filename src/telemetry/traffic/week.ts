/**
 * What is normal in an hour of the week: connections, senders and messages a minute, learnt from every hour that passes.
 *
 * A flood must not teach that it is normal. So a minute of overload teaches nothing; of the others, one counts at most MOST_MINUTE
 * times their median; an hour that is known is moved a quarter of the way to what was seen, and what was seen counts at most
 * MOST_HOUR times what was known of it, or, while that hour is not known, of the median of all that are.
 * A flood of a whole hour raises its hour by at most half, and the week after halves the mistake again.
 *
 * What nothing is known of is said to be so: until an hour of the week has come once, it is compared with the median of the hours that
 * are known, and until LEAST_HOURS are known with nothing. Hours are those of UTC.
 */

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

export const HOURS = 168
export const LEAST_HOURS = 3
const HOUR_MS = 3_600_000
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

/** The first hour of the epoch was on a Thursday; which day is the first does not matter. */
const hourOf = (at: number): number => Math.floor(at / HOUR_MS)

function usual(minutes: readonly number[]): number {
  const most = MOST_MINUTE * median(minutes) + SMALL
  return minutes.reduce((sum, each) => sum + Math.min(each, most), 0) / minutes.length
}

const each = (make: (measure: Measure) => number): Rates => ({
  connections: make('connections'),
  senders: make('senders'),
  messages: make('messages'),
})

export class Week {
  readonly #hours = new Array<Rates | undefined>(HOURS).fill(undefined)
  #minutes: Rates[] = []
  #hour: number | undefined

  /** A minute has passed. @param at its end, in ms since the epoch @param isOverloaded it teaches nothing */
  minute(at: number, rates: Rates, isOverloaded: boolean): void {
    const hour = hourOf(at)
    if (this.#hour !== undefined && hour !== this.#hour) {
      this.#learn(this.#hour)
      this.#minutes = []
    }
    this.#hour = hour
    // A clock that is set back could bring more than there are.
    if (!isOverloaded && this.#minutes.length < 60) this.#minutes.push(rates)
  }

  /** @param at in ms since the epoch @returns undefined: too little is known */
  normal(at: number): Normal | undefined {
    const known = this.#known()
    const own = this.#hours[hourOf(at) % HOURS]
    const hours = known.length
    if (own !== undefined) return { basis: 'week', hours, ...own }
    if (hours < LEAST_HOURS) return undefined
    return { basis: 'hours', hours, ...each((measure) => median(known.map((rates) => rates[measure]))) }
  }

  /** How many of the 168 hours are known. */
  get hours(): number {
    return this.#known().length
  }

  #known(): Rates[] {
    return this.#hours.filter((rates) => rates !== undefined)
  }

  #learn(hour: number): void {
    if (this.#minutes.length < LEAST_MINUTES) return
    const known = this.#known()
    const before = this.#hours[hour % HOURS]
    this.#hours[hour % HOURS] = each((measure) => {
      const seen = usual(this.#minutes.map((rates) => rates[measure]))
      const others = known.length < LEAST_HOURS ? undefined : median(known.map((rates) => rates[measure]))
      const base = before?.[measure] ?? others
      const capped = base === undefined ? seen : Math.min(seen, MOST_HOUR * base + SMALL)
      return before === undefined ? capped : before[measure] + STEP * (capped - before[measure])
    })
  }
}
