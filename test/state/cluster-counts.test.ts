import { expect, test } from '@jest/globals'
import { ClusterCounts } from '../../src/state/cluster-counts.ts'

const begin = () => new ClusterCounts(60_000)

test('what the cluster said falls to nothing within one window', () => {
  const counts = begin()
  counts.heard('a', 8, 1000)
  expect([0, 30_000, 59_999, 60_000].map((age) => counts.used('a', 1000 + age))).toEqual([8, 4, 1, 0])
})

test('what this node counts meanwhile is added, until the next answer has it in it', () => {
  const counts = begin()
  counts.heard('a', 8, 0)
  counts.add('a', 1)
  counts.add('a', 1)
  expect(counts.used('a', 30_000)).toBe(6)
  counts.heard('a', 7, 30_000)
  expect(counts.used('a', 30_000)).toBe(7)
})

test('of whom the cluster has said nothing, nothing is known', () => {
  const counts = begin()
  counts.add('a', 5)
  expect(counts.used('a', 0)).toBe(0)
})

test('a clock that steps back keeps nobody out for longer', () => {
  const counts = begin()
  counts.heard('a', 8, 10_000_000)
  expect(counts.used('a', 0)).toBe(8)
  expect(counts.used('a', 60_000)).toBe(0)
})
