/** The level that follows from the pressure, in plain numbers: one a second, as it is sampled. */
import { describe, expect, test } from '@jest/globals'
import { CALM, FALL_MS, type LevelState, nextLevel } from '../../src/overload/level.ts'
import { LAST_RISE_MS, LEVEL_TABLE, RISE_MS, RISEN } from '../../src/overload/levels.ts'

const SECOND = 1000

/** The level after each second, with a pressure for each. */
function levels(pressures: readonly number[], from: LevelState = CALM): { seen: number[]; last: LevelState } {
  let state = from
  const seen = pressures.map((pressure, i) => {
    state = nextLevel(state, pressure, i * SECOND)
    return state.level
  })
  return { seen, last: state }
}
const times = (count: number, pressure: number): number[] => Array.from({ length: count }, () => pressure)

describe('up', () => {
  test('a level begins when the pressure has stayed at its mark for three seconds, and not before', () => {
    expect(RISE_MS).toBe(3 * SECOND)
    expect(levels(times(5, 0.8)).seen).toEqual([0, 0, 0, 1, 1])
    expect(levels(times(5, 0.79)).seen).toEqual([0, 0, 0, 0, 0])
  })

  test('a spike raises nothing, and the time begins anew after it', () => {
    expect(levels([5, 5, 5, 0, 5, 5, 5, 0, 5, 5, 5]).seen.every((level) => level === 0)).toBe(true)
  })

  test('a flood goes to level 3 at once, whatever lies between, and to level 4 if that was not enough for ten seconds', () => {
    expect(LAST_RISE_MS).toBe(10 * SECOND)
    expect(levels(times(11, 3)).seen).toEqual([0, 0, 0, 3, 3, 3, 3, 3, 3, 3, 4])
    expect(levels([...times(9, 3), ...times(20, 1.3)]).seen.at(-1)).toBe(3)
    expect(levels(times(4, 1)).seen.at(-1)).toBe(2)
    expect(levels(times(4, 1.2)).seen.at(-1)).toBe(3)
  })

  test('each mark is held for itself: three seconds of level 1, of which the last two are of level 3', () => {
    expect(levels([0.9, 0.9, 2, 2, 2, 2]).seen).toEqual([0, 0, 0, 1, 1, 3])
  })
})

describe('down', () => {
  const at4 = levels(times(11, 3)).last
  const from = (state: LevelState): LevelState => ({ ...state, above: state.above.map(() => undefined) })

  test('one level at a time, each after thirty seconds below its mark', () => {
    expect(FALL_MS).toBe(30 * SECOND)
    const { seen } = levels(times(125, 0), from(at4))
    const falls = seen.flatMap((level, i) => (level === (seen[i - 1] ?? 4) ? [] : [[i, level]]))
    expect(falls).toEqual([
      [30, 3],
      [60, 2],
      [90, 1],
      [120, 0],
    ])
  })

  test('a pressure between the two marks of a level leaves it where it is', () => {
    const at2 = levels(times(4, 1)).last
    expect(new Set(levels(times(300, 0.9), from(at2)).seen)).toEqual(new Set([2]))
    // A moment at the mark begins the thirty seconds anew.
    const nearly = [...times(30, 0.5), 0.85, ...times(30, 0.5)]
    expect(new Set(levels(nearly, from(at2)).seen)).toEqual(new Set([2]))
  })

  test('it does not flap: a pressure that swings around a mark changes the level once', () => {
    const swinging = Array.from({ length: 600 }, (_, i) => (i % 20 < 10 ? 1.05 : 0.9))
    const { seen } = levels(swinging)
    expect(seen.filter((level, i) => i > 0 && level !== seen[i - 1])).toEqual([2])
  })
})

test('the marks rise from level to level, and the lower mark of each is below its upper one', () => {
  let before = 0
  for (const level of RISEN) {
    const { up, down } = LEVEL_TABLE[level]
    expect(up).toBeGreaterThan(before)
    expect(down).toBeLessThan(up)
    before = up
  }
})
