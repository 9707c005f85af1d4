/** What is read of a client's past from Redis or from a file, and what is not. */
import { expect, test } from '@jest/globals'
import { newsIn } from '../../src/state/history-scripts.ts'
import { isKey, pastIn, textOf } from '../../src/state/past-text.ts'

test('what is written is read again', () => {
  const past = { good: 70_000, recentGood: 24.125, recentBad: 0.5, first: 1, lastGood: 500_001, lastBad: 0 }
  expect(pastIn(textOf(past))).toEqual(past)
})

test.each([
  '',
  'nonsense',
  '1 2 3',
  '1 2 3 4 5 6 7 8',
  '1 2 3 4 5 6 1.5',
  '1 1 0  1 0',
  '-1 1 0 1 1 0',
  '1 -1 0 1 1 0',
  'nan 1 0 1 1 0',
  '1e308 1 0 1 1 0',
  'Infinity 1 0 1 1 0',
  '1.5 1 0 1 1 0',
  '1 1 0 1.5 1 0',
])('%j is no past', (text) => {
  expect(pastIn(text)).toBeUndefined()
})

test.each([
  ['00000000c0000201', true],
  ['00000000C0000201', false],
  ['00000000c000020', false],
  ['00000000c00002011', false],
  ['#', false],
])('%j is a key: %s', (text, is) => {
  expect(isKey(text)).toBe(is)
})

test.each([
  [undefined],
  [[]],
  [['g']],
  [['g', 'x']],
  [['g', '1', 'a', 'b']],
  [['g', '1', 'key', 'x', '']],
  [{}],
  [['g', '-1']],
  [['g', 1]],
])('the answer %j is no news', (answer) => {
  expect(newsIn(answer)).toBeUndefined()
})

test('of news the clients that are none are left out', () => {
  expect(
    newsIn([
      ...['g', '7', '00000000c0000201', '6', '1 1 0 9 9 0', 'x', '7', '1 1 0 9 9 0', '00000000c0000202', '7', '?'],
      // It has the form of a neighbourhood.
      ...['n00000000c0000200', '7', '1 1 0 9 9 0'],
    ]),
  ).toEqual({
    group: 'g',
    seq: 7,
    changes: [
      {
        key: '00000000c0000201',
        seq: 6,
        past: { good: 1, recentGood: 1, recentBad: 0, first: 9, lastGood: 9, lastBad: 0 },
      },
      { key: 'x', seq: 7, past: undefined },
      { key: '00000000c0000202', seq: 7, past: undefined },
      { key: 'n00000000c0000200', seq: 7, past: undefined },
    ],
  })
})
