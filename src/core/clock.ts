/** Time, given as an argument to whatever depends on it, so that a test can make an hour pass. */
export interface Clock {
  /** Milliseconds since the epoch. It may step, forwards and backwards: for what is told (log, ids) and for what nodes share. */
  readonly now: () => number
  /** Milliseconds of a clock that never goes back and has no date: for durations and deadlines. */
  readonly elapsed: () => number
}

export const SYSTEM_CLOCK: Clock = { now: () => Date.now(), elapsed: () => performance.now() }
