/** What counts of what a server answers within a short time. */
import { expect, test } from '@jest/globals'
import { Window } from '../../src/overload/window.ts'

const filled = (count: number, source: (i: number) => string = String): Window => {
  const window = new Window(0)
  for (let i = 0; i < count; i++) window.replied('dot', i + 1, source(i), 3)
  return window
}

test('median and 95th percentile, and the most connections in use', () => {
  const window = filled(100)
  window.replied('rcpt', 7, 'a', 9)
  expect(window.end(0)).toEqual({
    times: { dot: { count: 100, median: 51, p95: 96 }, rcpt: { count: 1, median: 7, p95: 7 } },
    asked: 101,
    drops: 0,
    dropNets: 0,
    mostInUse: 9,
  })
})

test('one source counts twelve times, whatever it sends, and what is dropped of it as well', () => {
  const window = filled(10_000, () => 'same')
  for (let i = 0; i < 100; i++) window.dropped('same', 1)
  expect(window.end(0)).toMatchObject({ asked: 12, drops: 0, times: { dot: { count: 12 } } })
  for (let i = 0; i < 100; i++) window.dropped('same', 1)
  expect(window.end(0)).toMatchObject({ asked: 12, drops: 12, dropNets: 1 })
})

test('more than 512 sources are not kept', () => {
  expect(filled(100_000).end(0).asked).toBe(512)
})

test('it is over after a second with enough dots or drops, or after ten seconds', () => {
  const window = filled(10)
  expect(window.isOver(999, 10)).toBe(false)
  expect(window.isOver(1000, 10)).toBe(true)
  expect(window.isOver(9999, 11)).toBe(false)
  expect(window.isOver(10_000, 11)).toBe(true)
  window.end(1000)
  expect(window.isOver(2000, 1)).toBe(false)
  window.dropped('a', 1)
  expect(window.isOver(2000, 1)).toBe(true)
})

test('what ended one window is not in the next', () => {
  const window = filled(100)
  window.end(0)
  expect(window.end(0)).toEqual({ times: {}, asked: 0, drops: 0, dropNets: 0, mostInUse: 0 })
})
