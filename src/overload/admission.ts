/**
 * Which share of the messages of a standing is let in at RCPT. Pure: (share, pressure, bounds, seconds) -> share. It is small steps
 * up and large ones down, as in congestion control (Chiu and Jain 1989): whatever the flood is, it settles around a pressure of 1.
 *
 *     pressure > 1        the share is divided by the pressure for each second, and at most halved
 *     pressure ≤ EASE     it grows by GROWTH of itself a second, and by LEAST_STEP to MOST_STEP in any case
 *     between the two     it stays
 *
 * It grows by a part of itself, because of a flood of fifty times the mail the right share is a few in a hundred: steps that are
 * small for a share of a half would let in twice too many. From one in a hundred to all it takes 72 seconds.
 *
 * While the pressure is at or below EASE, at least LEAST_PER_SECOND messages of strangers are let in, if so many come. A level that nothing causes
 * any more holds on for half a minute (level.ts), and of the few that come then, all may come in.
 *
 * The bounds are those of the level (levels.ts), and come last: a level that lets in one in twenty at most does so at once. A level
 * that falls changes nothing by itself: the share goes on from where it is.
 */
import type { Bounds } from './levels.ts'

const EASE = 0.9
const LEAST_PER_SECOND = 1
const GROWTH = 0.1
const LEAST_STEP = 0.001
const MOST_STEP = 0.02

/** @param seconds since the last call */
export function nextShare(share: number, pressure: number, { least, most }: Bounds, seconds: number): number {
  const moved =
    pressure > 1 ? share * Math.max(0.5, 1 / pressure) ** seconds : pressure <= EASE ? grown(share, seconds) : share
  return Math.min(most, Math.max(least, moved))
}

/** In steps of a second at most. */
function grown(share: number, seconds: number): number {
  let now = share
  for (let left = seconds; left > 0 && now < 1; left--) {
    now += Math.min(MOST_STEP, Math.max(LEAST_STEP, GROWTH * now)) * Math.min(1, left)
  }
  return now
}

/** How many messages of strangers a second are let in at the least. */
export const leastPerSecond = (pressure: number): number => (pressure <= EASE ? LEAST_PER_SECOND : 0)
