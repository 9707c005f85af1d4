/** The table of pasts: what it keeps, whom it forgets for whom, and that it is bounded. */
import { expect, test } from '@jest/globals'
import { halfSipHash } from '../../src/state/half-sip-hash.ts'
import { NO_PAST, type Past } from '../../src/state/past.ts'
import { PastTable } from '../../src/state/past-table.ts'

const SEED = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])
const HOUR = 3_600_000
const past = (good: number, lastGood = 500_000): Past => ({ ...NO_PAST, good, recentGood: good, first: 1, lastGood })
/** By the number of good messages: 1 to 4. */
const worthOf = ({ good }: Past): number => Math.min(4, good)
const table = (capacity: number, now = () => 500_003 * HOUR) =>
  new PastTable({ capacity, seed: SEED, worthOf, now, ttlMs: () => 2400 * HOUR })

test('what was put is read again, also with the highest bits set', () => {
  const pasts = table(16)
  const all: Past = { good: 70_000, recentGood: 24.5, recentBad: 100, first: 1, lastGood: 500_001, lastBad: 500_002 }
  expect(pasts.put(-1, -2, all)).toBe(true)
  expect(pasts.get(-1, -2)).toEqual(all)
  expect(pasts.get(-2, -1)).toBe(NO_PAST)
  expect(pasts.get(0, 0)).toBe(NO_PAST)
})

test('of a full set the least worth goes first, and of the same worth the one that is silent longest', () => {
  const pasts = table(16)
  for (let i = 1; i <= 16; i++) pasts.put(0, i, past(i <= 2 ? 1 : 3, 500_000 + i))
  expect(pasts.put(0, 100, past(1))).toBe(true)
  expect([1, 2, 100].map((low) => pasts.get(0, low) !== NO_PAST)).toEqual([false, true, true])
})

test('a stranger never takes the place of one that is worth more, however many come', () => {
  const pasts = table(16)
  for (let i = 1; i <= 16; i++) pasts.put(0, i, past(4))
  for (let i = 100; i < 10_000; i++) expect(pasts.put(1, i, past(3))).toBe(false)
  expect(pasts.count(4)).toBe(16)
  // One that is worth as much comes in.
  expect(pasts.put(1, 5, past(4, 500_001))).toBe(true)
  expect(pasts.count(4)).toBe(16)
})

test('counts follow what changes, and what is forgotten makes room', () => {
  let hour = 502_399
  const pasts = table(64, () => hour * HOUR)
  for (let i = 1; i <= 20; i++) pasts.put(0, i, past(1))
  for (let i = 1; i <= 5; i++) pasts.put(0, i, past(4))
  expect([1, 2, 3, 4].map((worth) => pasts.count(worth))).toEqual([15, 0, 0, 5])
  pasts.sweep(1)
  expect([1, 2, 3, 4].map((worth) => pasts.count(worth))).toEqual([15, 0, 0, 5])
  hour++
  expect(pasts.get(0, 1)).toBe(NO_PAST)
  pasts.sweep(1)
  expect([1, 2, 3, 4].map((worth) => pasts.count(worth))).toEqual([0, 0, 0, 0])
})

test('a million known clients have room in the table that is shipped', () => {
  const pasts = table(1 << 21)
  let kept = 0
  for (let i = 0; i < 1_000_000; i++) if (pasts.put(0, i, past(4))) kept++
  expect(kept).toBe(1_000_000)
  // An old friend goes for a new one where a set is full of friends.
  expect(pasts.count(4)).toBeGreaterThan(999_000)
})

test('where an address belongs depends on the secret, and neighbours are spread', () => {
  const of = (key: number) => Array.from({ length: 4096 }, (_, i) => halfSipHash(key, 7, 0, i) >>> 28)
  const counts = of(1).reduce<number[]>((all, part) => {
    all[part] = (all[part] ?? 0) + 1
    return all
  }, [])
  for (const count of counts) expect(Math.abs(count - 256)).toBeLessThan(80)
  expect(of(2)).not.toEqual(of(1))
})
