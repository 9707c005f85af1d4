/**
 * OVERLOAD_KNOWN_RESERVE: the part of a capacity that is kept for friends, which is whoever is trusted, known or seen. Pure.
 *
 *     strangers together hold at most max(1, ⌊capacity × (1 − reserve)⌋) at a time
 *
 * The capacities are the connections to the mail servers and SPILLWAY_MAX_CONNECTIONS. Friends may hold all of a capacity, the part of the
 * strangers included. Of a mail server strangers may have less (strangers-part.ts). The rule holds at every level, since a flood may fill a
 * capacity before a level takes effect.
 *
 * It holds while there is a friend to keep it for: for FRIENDS_MS after the last one connected. So a node with an empty history,
 * and one that only strangers send to, gives all it has to strangers.
 */

/** Honest servers that send little come back within this time, in milliseconds. */
export const FRIENDS_MS = 3_600_000

/** How much of a capacity strangers may hold together. @param reserve 0 to 1 */
export const strangersMost = (capacity: number, reserve: number): number =>
  // Rounded first: 100 × (1 − 0.3) is a little less than 70.
  Math.max(1, Math.floor(Math.round(capacity * (1 - reserve) * 1e6) / 1e6))
