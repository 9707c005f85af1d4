import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { WindowTable } from '../../src/state/table.ts'

const seed = Buffer.from('8 bytes!')
const windowMs = 1000
const table = (capacity = 1024) => new WindowTable({ capacity, windowMs, seed })
/** The start of some window. */
const T0 = 1_700_000_000_000

/** Steps of time and amounts; the steps are mostly much shorter than a window, sometimes longer. */
const attempts = fc.array(
  fc.record({
    wait: fc.oneof(fc.nat(40), fc.nat(40), fc.nat(400), fc.nat(3000)),
    amount: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 5 })),
  }),
  { minLength: 1, maxLength: 300 },
)

describe('one key', () => {
  test('counts to max, then says how far over it the key is', () => {
    const t = table()
    expect([1, 2, 3, 4, 5].map(() => t.charge('a', T0, 3))).toEqual([1, 2, 3, 4, 5])
    expect(t.charge('b', T0, 3)).toBe(1)
    expect(t.charge('a', T0, 3, 10)).toBe(15)
    expect(t.charge('a', T0, 3)).toBe(16)
  })

  test('an amount is admitted whole or not at all', () => {
    const t = table()
    expect(t.charge('a', T0, 10, 8)).toBe(8)
    expect(t.charge('a', T0, 10, 3)).toBe(11)
    expect(t.charge('a', T0, 10, 2)).toBe(10)
    expect(t.peek('a', T0)).toBe(10)
  })

  test('refused attempts are not admitted ones: peek has none of them, and the next window counts from what was admitted', () => {
    const t = table()
    for (let i = 0; i < 1000; i++) t.charge('a', T0, 10)
    expect(t.peek('a', T0)).toBe(10)
    expect(t.charge('a', T0 + 1500, 10)).toBe(6)
  })

  test('an attempt that was refused elsewhere counts among the refused of this window, and is not admitted either', () => {
    const t = table()
    expect([t.refuse('a', T0), t.refuse('a', T0)]).toEqual([1, 2])
    expect([t.peek('a', T0), t.charge('a', T0, 0)]).toEqual([0, 3])
    expect(t.charge('a', T0, 10)).toBe(1)
    expect(t.refuse('a', T0 + 1000)).toBe(1)
  })

  test('the last window counts by the share of it that is still within windowMs', () => {
    const t = table()
    t.charge('a', T0 + 999, 100, 100)
    expect([1000, 1250, 1500, 1999, 2000].map((ms) => t.peek('a', T0 + ms))).toEqual([100, 75, 50, 1, 0])
  })

  test('max is rounded down, and 0 admits nothing', () => {
    const t = table()
    expect([1, 2, 3].map(() => t.charge('a', T0, 2.5))).toEqual([1, 2, 3])
    expect(t.peek('a', T0)).toBe(2)
    expect(t.charge('b', T0, 0)).toBe(1)
    expect(t.peek('b', T0)).toBe(0)
    t.charge('c', T0, 2.5, 2)
    expect(t.charge('c', T0 + 1300, 2.5)).toBe(3)
    expect(t.peek('c', T0 + 1300)).toBe(2)
  })

  test('a count far over 2^31 stays where it is and does not turn over', () => {
    const t = table()
    t.charge('a', T0, Number.POSITIVE_INFINITY, 2 ** 31)
    expect(t.charge('a', T0, Number.POSITIVE_INFINITY, 2 ** 31)).toBeGreaterThan(2 ** 31)
    for (let i = 0; i < 3; i++) expect(t.charge('b', T0, 5, 2 ** 31)).toBeGreaterThan(5)
    expect(t.charge('b', T0, 5)).toBe(1)
  })

  test('refund takes back what was admitted in this window, then in the last, and never goes below nothing', () => {
    const t = table()
    t.charge('a', T0, 10, 6)
    t.charge('a', T0 + 1500, 10, 4)
    expect(t.peek('a', T0 + 1500)).toBe(7)
    t.refund('a', T0 + 1500, 5)
    expect(t.peek('a', T0 + 1500)).toBe(3)
    t.refund('a', T0 + 1500, 100)
    expect(t.peek('a', T0 + 1500)).toBe(0)
    t.refund('unheard of', T0)
    expect(t.peek('unheard of', T0)).toBe(0)
  })

  test('somebody who never stops trying gets max in every window, all but the rounding', () => {
    const t = table()
    for (let w = 0; w < 5; w++) {
      let admitted = 0
      for (let ms = 0; ms < windowMs; ms++) if (t.charge('a', T0 + w * windowMs + ms, 50) <= 50) admitted++
      expect(admitted).toBeGreaterThanOrEqual(49)
      expect(admitted).toBeLessThanOrEqual(50)
    }
  })
})

describe('how much is admitted', () => {
  /** Runs the attempts against one key and returns what was admitted, and when (ms from T0). */
  function admissions(list: readonly { wait: number; amount: number }[], max: number) {
    const t = table()
    let now = T0
    const admitted: { at: number; amount: number }[] = []
    for (const { wait, amount } of list) {
      now += wait
      if (t.charge('key', now, max, amount) <= max) admitted.push({ at: now - T0, amount })
    }
    return admitted
  }
  const sum = (list: readonly { amount: number }[]) => list.reduce((total, { amount }) => total + amount, 0)

  test('never more than max in an aligned window', () => {
    fc.assert(
      fc.property(attempts, fc.integer({ min: 1, max: 30 }), (list, max) => {
        const perWindow = new Map<number, number>()
        for (const { at, amount } of admissions(list, max)) {
          const window = Math.floor(at / windowMs)
          perWindow.set(window, (perWindow.get(window) ?? 0) + amount)
        }
        for (const admitted of perWindow.values()) expect(admitted).toBeLessThanOrEqual(max)
      }),
    )
  })

  test('in any span of a window that ends at share g, at most max + g × what the window before admitted', () => {
    fc.assert(
      fc.property(attempts, fc.integer({ min: 1, max: 30 }), (list, max) => {
        const admitted = admissions(list, max)
        for (const { at: end } of admitted) {
          const window = Math.floor(end / windowMs)
          const g = end / windowMs - window
          const span = sum(admitted.filter(({ at }) => at > end - windowMs && at <= end))
          const before = sum(admitted.filter(({ at }) => Math.floor(at / windowMs) === window - 1))
          expect(span).toBeLessThanOrEqual(max + g * before + 1e-6)
          expect(span).toBeLessThan(2 * max)
        }
      }),
    )
  })

  test('the bound is what saving up for the end of a window comes near to', () => {
    const list = [{ wait: 998, amount: 100 }, ...Array.from({ length: 2 * 998 }, () => ({ wait: 0.5, amount: 1 }))]
    const span = sum(admissions(list, 100))
    expect(span).toBeGreaterThan(195)
    expect(span).toBeLessThan(200)
  })

  test('at an even rate just under the limit nobody is refused', () => {
    const list = Array.from({ length: 1000 }, () => ({ wait: 20.5, amount: 1 }))
    expect(admissions(list, 50)).toHaveLength(1000)
  })

  test('agrees with two counters a key in a Map, while there is room', () => {
    const step = fc.record({
      key: fc.constantFrom('192.0.2.1', '192.0.2.2', '2001:db8::/64', '', 'é@例.jp', 'a', 'aa', 'a\0'),
      wait: fc.oneof(fc.nat(50), fc.nat(2500)),
      amount: fc.integer({ min: 1, max: 4 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 20 }), (steps, max) => {
        const t = table()
        const model = new Map<string, { window: number; current: number; previous: number; refused: number }>()
        let now = T0
        for (const { key, wait, amount } of steps) {
          now += wait
          const window = Math.floor(now / windowMs)
          const entry = model.get(key) ?? { window, current: 0, previous: 0, refused: 0 }
          if (entry.window !== window) {
            entry.previous = entry.window === window - 1 ? entry.current : 0
            entry.current = 0
            entry.refused = 0
            entry.window = window
          }
          model.set(key, entry)
          const used = entry.current + (entry.previous * ((window + 1) * windowMs - now)) / windowMs
          expect(t.peek(key, now)).toBe(Math.ceil(used))
          const fits = used + amount <= max
          if (fits) entry.current += amount
          else entry.refused += amount
          expect(t.charge(key, now, max, amount)).toBe(Math.ceil(used + (fits ? amount : entry.refused)))
        }
      }),
    )
  })
})

describe('many keys', () => {
  test('a million keys take no more memory than the table was given', () => {
    const t = table(4096)
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 1_000_000; i++) t.charge(`198.51.${i}`, T0 + (i >> 12), 10)
    expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(before)
    expect(t.size(T0 + 244)).toBe(4096)
    expect(t.size(T0 + 10 * windowMs)).toBe(0)
  })

  test('keys that are nearly alike do not share a count', () => {
    const t = table(1 << 20)
    let shared = 0
    for (let i = 0; i < 200_000; i++) if (t.charge(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, T0, 10) > 1) shared++
    expect(shared).toBe(0)
  })

  test('where a key lies depends on the seed', () => {
    // With one set's worth of slots per table, who is pushed out tells nothing; with many, it is the seed that decides.
    const survivors = (seed: Uint8Array) => {
      const t = new WindowTable({ capacity: 64, windowMs, seed })
      for (let i = 0; i < 256; i++) t.charge(`key ${i}`, T0, 10)
      return Array.from({ length: 256 }, (_, i) => t.peek(`key ${i}`, T0)).join('')
    }
    const seeds = ['12345678', 'x2345678', '1234567x'].map((text) => survivors(Buffer.from(text)))
    expect(new Set(seeds).size).toBe(3)
  })

  test('size is near the number of keys, whether all slots are looked at or a sample', () => {
    for (const [capacity, keys] of [
      [1024, 300],
      [1 << 18, 100_000],
    ] as const) {
      const t = table(capacity)
      for (let i = 0; i < keys; i++) t.charge(`key ${i}`, T0, 10)
      expect(Math.abs(t.size(T0) - keys)).toBeLessThan(keys * 0.1)
    }
  })

  test('a heavy key is not pushed out by a flood of light ones', () => {
    const t = table(256)
    for (let i = 0; i < 40; i++) t.charge(`heavy ${i}`, T0, 20, 20)
    for (let i = 0; i < 100_000; i++) t.charge(`light ${i}`, T0 + 1, 20)
    for (let i = 0; i < 40; i++) expect(t.charge(`heavy ${i}`, T0 + 2, 20)).toBe(21)
  })

  test('what has run out goes first, however heavy it was', () => {
    const t = table(8)
    for (let i = 0; i < 4; i++) t.charge(`old ${i}`, T0, 1000, 1000)
    for (let i = 0; i < 4; i++) t.charge(`light ${i}`, T0 + 2 * windowMs, 1000)
    for (let i = 0; i < 4; i++) t.charge(`new ${i}`, T0 + 2 * windowMs, 1000)
    for (let i = 0; i < 4; i++) {
      expect(t.peek(`light ${i}`, T0 + 2 * windowMs)).toBe(1)
      expect(t.peek(`new ${i}`, T0 + 2 * windowMs)).toBe(1)
    }
  })

  test('what was refused makes a key heavy too', () => {
    const t = table(8)
    for (let i = 0; i < 50; i++) t.charge('hammering', T0, 1)
    for (let i = 0; i < 100; i++) t.charge(`light ${i}`, T0, 10, 2)
    expect(t.charge('hammering', T0, 1)).toBe(51)
  })

  test('of eight heavy keys a flood pushes out one, the lightest', () => {
    const t = table(8)
    for (let i = 0; i < 8; i++) t.charge(`heavy ${i}`, T0, 100, 20 + i)
    for (let i = 0; i < 10_000; i++) t.charge(`light ${i}`, T0, 100)
    expect(Array.from({ length: 8 }, (_, i) => t.peek(`heavy ${i}`, T0))).toEqual([0, 21, 22, 23, 24, 25, 26, 27])
  })
})

describe('a clock that steps back', () => {
  test('by less than a window stands still until it has caught up', () => {
    const t = table()
    t.charge('a', T0 + 1100, 10, 10)
    expect(t.charge('a', T0 + 900, 10)).toBe(11)
    expect(t.charge('a', T0 + 1100, 10)).toBe(12)
    expect(t.peek('a', T0 + 2600)).toBe(4)
  })

  test('by a year sets nobody free and keeps nobody out for more than two windows', () => {
    const t = table()
    t.charge('a', T0, 10, 10)
    const before = T0 - 365 * 86_400_000
    expect(t.charge('a', before, 10)).toBe(11)
    expect(t.charge('a', before + 1500, 10)).toBe(6)
    expect(t.peek('a', before + 3000)).toBe(0)
  })

  test('a key that comes back long after the step finds nothing of before it, and takes no place meanwhile', () => {
    const t = table()
    for (let i = 0; i < 200; i++) t.charge(`k${i}`, T0, 10, 10)
    expect(t.size(T0)).toBeGreaterThan(0)
    const before = T0 - 365 * 86_400_000
    t.charge('other', before, 10)
    expect(t.peek('k1', before)).toBe(10)
    expect(t.size(before + 2 * windowMs)).toBeLessThanOrEqual(1)
    expect(t.charge('k0', before + 2 * windowMs, 10)).toBe(1)
    expect(t.charge('k5', before + 50 * windowMs, 10)).toBe(1)
  })

  test('wherever it steps, no more than max is admitted for each window that it goes forward', () => {
    const leap = fc.oneof(
      fc.integer({ min: -5000, max: 5000 }),
      fc.integer({ min: -50, max: 50 }),
      fc.integer({ min: -1e9, max: 1e9 }),
    )
    fc.assert(
      fc.property(fc.array(leap, { maxLength: 300 }), fc.integer({ min: 1, max: 10 }), (leaps, max) => {
        const t = table()
        let now = T0
        let window = now / windowMs
        let forward = 1
        let admitted = 0
        for (const by of leaps) {
          now += by
          if (Math.floor(now / windowMs) > window) forward++
          window = Math.floor(now / windowMs)
          if (t.charge('key', now, max) <= max) admitted++
          expect(t.peek('key', now)).toBeLessThanOrEqual(2 * max)
        }
        expect(admitted).toBeLessThanOrEqual(max * forward)
      }),
    )
  })
})

test('what makes no table is refused', () => {
  expect(() => new WindowTable({ capacity: 0, windowMs, seed })).toThrow('capacity')
  expect(() => new WindowTable({ capacity: 8, windowMs: Number.NaN, seed })).toThrow('windowMs')
  expect(() => new WindowTable({ capacity: 8, windowMs, seed: Buffer.from('short') })).toThrow('seed')
})
