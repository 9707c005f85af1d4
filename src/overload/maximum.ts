/**
 * How much of each limit a client has, by what it is to us and by the level of overload. The rule:
 *
 *     known                 LIMIT_KNOWN_FACTOR times the setting, at every level
 *     trusted               the setting (no limit is charged for trusted clients)
 *     all others            the setting; from level 1 on LIMIT_STRESS_FACTOR of it
 *     limits of everybody   the setting, for whoever is charged and at every level
 *
 * Relays (SPILLWAY_RELAYS) have no limits per client. What they may have open together is in state/seats.ts.
 *
 * The result is a whole number, at least 1: a client that comes once is never over a limit.
 *
 * A net has one count, to which all its clients are charged but the known and the trusted ones (state/limits.ts). A known client that
 * guesses addresses is charged (state/harvest.ts), and the setting is its maximum as well: a net is held as one.
 *
 * Nodes that share limits through Redis share the counts, and each applies its own level. Where maxima differ, what
 * ledger.ts need not tell is a part of the larger one.
 */
import type { Standing } from '../core/client.ts'
import { LIMITS, type LimitName, type Rates } from '../core/limits.ts'
import type { Level } from '../core/overload.ts'
import { LEVEL_TABLE } from './levels.ts'

export interface Factors {
  /** LIMIT_KNOWN_FACTOR, 1 or more. */
  readonly known: number
  /** LIMIT_STRESS_FACTOR, more than 0 and at most 1. */
  readonly stress: number
}

/** A limit per client, of which `max` is set. */
export function perClient(max: number, standing: Standing, level: Level, { known, stress }: Factors): number {
  if (standing === 'known') return Math.min(Number.MAX_SAFE_INTEGER, Math.floor(max * known))
  if (standing === 'trusted' || !LEVEL_TABLE[level].shrinks) return max
  return Math.max(1, Math.floor(max * stress))
}

/** The maximum of a limit that counts over time; 0 where it is off. */
export function maximum(limit: LimitName, standing: Standing, level: Level, rates: Rates, factors: Factors): number {
  const max = rates[limit]?.max
  if (max === undefined) return 0
  const { per } = LIMITS[limit]
  if (per === 'everybody' || (per === 'net' && standing === 'known')) return max
  return perClient(max, standing, level, factors)
}
