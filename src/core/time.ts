/** Spans of time, in milliseconds, and whole hours. */
export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

/** Whole hours since the epoch, in UTC. @param at milliseconds since the epoch */
export const hourOf = (at: number): number => Math.floor(at / HOUR_MS)
