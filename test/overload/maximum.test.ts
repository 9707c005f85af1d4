/** How much of each limit a client has: a table over all standings and levels. */
import { describe, expect, test } from '@jest/globals'
import { STANDINGS, type Standing } from '../../src/core/client.ts'
import { ALL_OFF, LIMIT_NAMES, LIMITS, type Rates } from '../../src/core/limits.ts'
import { LEVELS } from '../../src/core/overload.ts'
import { recordOf } from '../../src/core/record.ts'
import { maximum, perClient } from '../../src/overload/maximum.ts'

const FACTORS = { known: 10, stress: 0.1 }
const RATES: Rates = recordOf(LIMIT_NAMES, () => ({ max: 600, windowMs: 60_000 }))

/** Of 600: at level 0, and from level 1 on. */
const EXPECTED: Readonly<Record<Standing, readonly [calm: number, pressed: number]>> = {
  trusted: [600, 600],
  known: [6000, 6000],
  seen: [600, 60],
  new: [600, 60],
  suspect: [600, 60],
  banned: [600, 60],
}

describe.each(STANDINGS)('%s', (standing) => {
  const [calm, pressed] = EXPECTED[standing]
  test.each(LEVELS)('at level %i', (level) => {
    for (const limit of LIMIT_NAMES) {
      const { per } = LIMITS[limit]
      const isShared = per === 'everybody' || (per === 'net' && standing === 'known')
      const expected = isShared ? 600 : level === 0 ? calm : pressed
      expect([limit, maximum(limit, standing, level, RATES, FACTORS)]).toEqual([limit, expected])
    }
    expect(perClient(600, standing, level, FACTORS)).toBe(level === 0 ? calm : pressed)
  })
})

test('it is a whole number, never less than 1, and never more than can be counted', () => {
  expect(perClient(5, 'new', 1, FACTORS)).toBe(1)
  expect(perClient(1, 'new', 4, { known: 10, stress: 0.001 })).toBe(1)
  expect(perClient(19, 'new', 1, FACTORS)).toBe(1)
  expect(perClient(20, 'new', 1, FACTORS)).toBe(2)
  expect(perClient(3, 'known', 0, { known: 2.5, stress: 1 })).toBe(7)
  expect(perClient(Number.MAX_SAFE_INTEGER, 'known', 0, FACTORS)).toBe(Number.MAX_SAFE_INTEGER)
})

test('a limit that is off has none', () => {
  for (const limit of LIMIT_NAMES) expect(maximum(limit, 'known', 0, ALL_OFF, FACTORS)).toBe(0)
})
