/**
 * Which share of the messages of a standing is let in at RCPT. Pure: (share, pressure, bounds, seconds) -> share, in additive
 * steps up and in factors down, as congestion control does it (Chiu and Jain 1989): whatever the flood is, it settles around a
 * pressure of 1.
 *
 *     pressure > 1        the share is divided by the pressure for each second, and at most halved
 *     pressure ≤ EASE     it grows by STEP a second: from nothing to all in 50 seconds
 *     between the two     it stays
 *
 * The bounds are those of the level (levels.ts), and come last: a level that lets in one in twenty does so at once.
 */
import type { Bounds } from './levels.ts'

const EASE = 0.9
const STEP = 0.02

/** @param seconds since the last call */
export function nextShare(share: number, pressure: number, { least, most }: Bounds, seconds: number): number {
  const moved =
    pressure > 1 ? share * Math.max(0.5, 1 / pressure) ** seconds : share + (pressure <= EASE ? STEP * seconds : 0)
  return Math.min(most, Math.max(least, moved))
}
