/**
 * Which level of overload follows from the pressure. Pure: (state, pressure, now) -> state, with the marks of levels.ts.
 *
 * Up: a level begins once the pressure has stayed at or above its mark for its time (riseMs), whatever levels lie between.
 * Down: one level at a time, each once the pressure has stayed below the mark of the present level for FALL_MS. The lower mark
 * of a level is that of the level below it, so that a pressure that moves between the two changes nothing.
 */
import type { Level } from '../core/overload.ts'
import { LEVEL_TABLE, RISEN } from './levels.ts'

/** How long it must stay down before a level ends, in milliseconds. */
export const FALL_MS = 30_000

/** Times are in ms of a clock that never goes back. */
export interface LevelState {
  readonly level: Level
  /** For the levels 1 to 4, since when the pressure has been at or above their mark; undefined: it is below. */
  readonly above: readonly (number | undefined)[]
  /** Since when the pressure has been below the lower mark of `level`, or the last level ended; undefined: it is not. */
  readonly below: number | undefined
}

export const CALM: LevelState = { level: 0, above: RISEN.map(() => undefined), below: undefined }

export function nextLevel(state: LevelState, pressure: number, now: number): LevelState {
  const above = RISEN.map((level, i) => (pressure >= LEVEL_TABLE[level].up ? (state.above[i] ?? now) : undefined))
  const risen = RISEN.filter((level, i) => now - (above[i] ?? now) >= LEVEL_TABLE[level].riseMs).at(-1) ?? 0
  if (risen > state.level) return { level: risen, above, below: undefined }
  if (state.level === 0 || pressure >= LEVEL_TABLE[state.level].down) {
    return { level: state.level, above, below: undefined }
  }
  const below = state.below ?? now
  if (now - below < FALL_MS) return { level: state.level, above, below }
  return { level: (state.level - 1) as Level, above, below: now }
}
