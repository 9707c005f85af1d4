/** The clock, passed as an argument to whatever depends on time, so that a test can make an hour pass. */
export interface Clock {
  /**
   * Milliseconds since the epoch. This clock may step forwards and backwards. It is for the log, for ids and for what
   * nodes share.
   */
  readonly now: () => number
  /** Milliseconds of a clock that never goes back but has no date. It is for durations and deadlines. */
  readonly elapsed: () => number
}

export const SYSTEM_CLOCK: Clock = { now: () => Date.now(), elapsed: () => performance.now() }
