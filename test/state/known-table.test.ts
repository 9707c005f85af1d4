import { describe, expect, test } from '@jest/globals'
import { dayOf, type Key, KnownTable, RECORD, REMEMBERED_DAYS, WAYS } from '../../src/state/known-table.ts'

const TODAY = dayOf(20_500)
const table = (today = TODAY, sets = 1): KnownTable => {
  const made = new KnownTable(sets)
  made.begin(today)
  return made
}
/** One that differs from others by `high`. */
const key = (high: number, domain = 1, set = 0): Key => ({ set, high, low: 7, domain })
const has = (known: KnownTable, each: Key): boolean => known.find(each) >= 0

describe('a full set', () => {
  const full = (domainOf: (i: number) => number): KnownTable => {
    const known = table(TODAY - 20)
    for (let i = 0; i < WAYS; i++) {
      if (i % 10 === 0) known.begin(TODAY - 20 + i / 10)
      known.put(key(i, domainOf(i)), false)
    }
    known.begin(TODAY)
    return known
  }

  test('gives up what was not seen for longest where every domain has one place', () => {
    const known = full((i) => i + 1)
    expect(known.put(key(1000, 500), false)).toBe(true)
    expect([has(known, key(1000, 500)), has(known, key(0)), has(known, key(1)), has(known, key(127))]).toEqual([
      true,
      false,
      true,
      true,
    ])
  })

  test('gives up the oldest place of the domain that has most', () => {
    const known = full((i) => (i < 60 ? 1 : i < 100 ? 2 : 3))
    known.put(key(1000, 4), false)
    known.put(key(1001, 2), false)
    expect([0, 1, 60, 100].map((i) => has(known, key(i)))).toEqual([false, false, true, true])
  })

  test('takes nothing from a domain that has as much for one that comes with more', () => {
    const known = full((i) => (i < 64 ? 1 : 2))
    for (let i = 0; i < 500; i++) known.put(key(1000 + i, 2), false)
    for (let i = 0; i < 64; i++) expect(has(known, key(i))).toBe(true)
    expect(has(known, key(1499, 2))).toBe(true)
  })

  test('has room again when what is in it is too old', () => {
    const known = full(() => 1)
    known.begin(TODAY + REMEMBERED_DAYS - 10)
    known.put(key(1000, 2), false)
    expect([has(known, key(1000)), has(known, key(127))]).toEqual([true, true])
    expect(known.read(0).length / RECORD).toBeLessThan(WAYS)
  })
})

describe('records', () => {
  test('are the same for the same, in whatever order it was learned', () => {
    const [a, b] = [table(), table()]
    const keys = Array.from({ length: 50 }, (_, i) => key((i * 7919) % 1000, i % 5))
    for (const each of keys) a.put(each, false)
    for (const each of keys.toReversed()) b.put(each, false)
    expect(a.read(0)).toEqual(b.read(0))
    const c = table()
    c.merge(0, a.read(0))
    expect(c.read(0)).toEqual(a.read(0))
  })

  test('of one key are one: the later day counts, and of one day the refusal', () => {
    const [a, b, c] = [table(TODAY - 1), table(), table()]
    a.put(key(1), true)
    b.put(key(1), false)
    c.put(key(1), true)
    const merged = (...all: KnownTable[]): boolean => {
      const known = table()
      for (const each of all) known.merge(0, each.read(0))
      return known.isRefusal(known.find(key(1)))
    }
    expect([merged(a, b), merged(b, a), merged(b, c), merged(c, b)]).toEqual([false, false, true, true])
  })

  test('of a day to come, or too long ago, are passed over; one day on is another clock', () => {
    const later = (days: number): boolean => {
      const [other, known] = [table(TODAY + days), table()]
      other.put(key(1), false)
      known.merge(0, other.read(0))
      return has(known, key(1))
    }
    expect([-31, -30, 0, 1, 2, 5000].map(later)).toEqual([false, true, true, true, false, false])
  })

  test('that are broken off, or are none at all, do no harm', () => {
    const known = table()
    known.put(key(1), false)
    const before = known.read(0)
    known.merge(0, before.subarray(0, 7))
    known.merge(0, Buffer.alloc(0))
    known.merge(0, Buffer.alloc(100))
    expect(known.read(0)).toEqual(before)
  })

  test('of more than a set holds are shared out as in the set', () => {
    const [a, b] = [table(), table()]
    for (let i = 0; i < WAYS; i++) {
      a.put(key(i, 1), false)
      b.put(key(1000 + i, 2), false)
    }
    a.merge(0, b.read(0))
    expect(a.read(0)).toHaveLength(WAYS * RECORD)
    const mine = Array.from({ length: WAYS }, (_, i) => has(a, key(i))).filter(Boolean)
    expect(mine).toHaveLength(WAYS / 2)
  })
})

test('a place is of its set alone', () => {
  const known = table(TODAY, 2)
  known.put(key(1, 1, 1), false)
  expect([has(known, key(1, 1, 0)), has(known, key(1, 1, 1))]).toEqual([false, true])
})

test('days fit for a while', () => {
  const in2100 = dayOf(47_500)
  const known = table(in2100)
  known.put(key(1), true)
  known.begin(in2100 + REMEMBERED_DAYS)
  expect([has(known, key(1)), known.isRefusal(known.find(key(1)))]).toEqual([true, true])
  expect(dayOf(0)).toBe(1)
})
