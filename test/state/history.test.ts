/** What is remembered of clients and of their neighbourhoods, for how long, and for whom. */
import { describe, expect, test } from '@jest/globals'
import { hourOf } from '../../src/core/time.ts'
import { standingAlone, standingOf } from '../../src/overload/standing.ts'
import { History } from '../../src/state/history.ts'
import { type Lesson, NO_PAST, type Past } from '../../src/state/past.ts'

const NEEDS = { after: 3, days: 2 }
const DAY = 86_400_000
const GOOD: Lesson = { good: 1, bad: 0 }
const BAD: Lesson = { good: 0, bad: 1 }
const START = Date.UTC(2026, 0, 10, 12)

function begin(capacity = 4096, ttlMs = 100 * DAY) {
  const clock = { now: START }
  const history = new History({
    standingAlone: (own) => standingAlone(own, NEEDS),
    ttlMs: () => ttlMs,
    now: () => clock.now,
    seed: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
    capacity,
  })
  const of = (ip: string) => standingOf({ isAllowed: false, own: history.own(ip), net: history.net(ip) }, NEEDS)
  const befriend = (ip: string) => {
    for (const at of [START, START, START + DAY]) {
      clock.now = at
      history.learn(ip, GOOD)
    }
  }
  return { clock, history, of, befriend }
}

test.each([
  ['IPv4', '192.0.2.1', '192.0.2.1', 'known'],
  ['another address of the same /24', '192.0.2.1', '192.0.2.2', 'new'],
  ['the same /64', '2001:db8:1:2::1', '2001:db8:1:2:ffff::9', 'known'],
  ['another /64 of the same /48', '2001:db8:1:2::1', '2001:db8:1:3::1', 'new'],
] as const)('a friend is remembered by its source: %s', (_, friend, client, standing) => {
  const { befriend, of } = begin()
  befriend(friend)
  expect(of(client)).toBe(standing)
})

test('what is no address teaches nothing', () => {
  const { history, of } = begin()
  history.learn('nonsense', GOOD)
  expect(of('nonsense')).toBe('new')
  expect(history.count('seen')).toBe(0)
})

test('a friend is remembered for HISTORY_TTL after its last message', () => {
  const { clock, history, befriend, of } = begin()
  befriend('192.0.2.1')
  clock.now += 100 * DAY - 3_600_000
  expect(of('192.0.2.1')).toBe('known')
  clock.now += 3_600_000
  expect(of('192.0.2.1')).toBe('new')
  expect(history.count('known')).toBe(1)
  history.sweep(1)
  expect(history.count('known')).toBe(0)
  // Whoever comes back begins again.
  history.learn('192.0.2.1', GOOD)
  expect(history.own('192.0.2.1')).toMatchObject({ good: 1 })
})

test('a thousand strangers make nobody forget a friend', () => {
  const { history, befriend, of } = begin(16)
  befriend('192.0.2.1')
  for (let i = 0; i < 1000; i++) history.learn(`10.0.${i >> 8}.${i & 255}`, i % 2 === 0 ? BAD : GOOD)
  expect(of('192.0.2.1')).toBe('known')
})

test('a network whose addresses are all bad makes the next one a suspect; one busy bad machine does not', () => {
  const { history, of } = begin()
  for (let i = 1; i <= 4; i++) history.learn(`198.51.100.${i}`, BAD)
  expect(of('198.51.100.9')).toBe('suspect')
  expect(of('198.51.101.9')).toBe('new')
  for (let i = 0; i < 100; i++) history.learn('203.0.113.1', BAD)
  expect(of('203.0.113.1')).toBe('suspect')
  expect(of('203.0.113.9')).toBe('new')
})

test('what a neighbourhood was taught fades within a day', () => {
  const { clock, history, of } = begin()
  for (let i = 1; i <= 5; i++) history.learn(`198.51.100.${i}`, BAD)
  clock.now += DAY
  expect(of('198.51.100.9')).toBe('new')
})

test("a provider's pool stays: spam from every address, and honest mail from every fourth", () => {
  const { history, of } = begin()
  for (let i = 1; i <= 200; i++) {
    if (i % 4 === 0) history.learn(`198.51.100.${i}`, { good: 3, bad: 0 })
    history.learn(`198.51.100.${i}`, BAD)
  }
  expect(of('198.51.100.250')).toBe('new')
})

test('a list with dead subscribers is no bad neighbour', () => {
  const { history } = begin()
  for (let i = 1; i <= 20; i++) history.learn(`198.51.100.${i}`, { good: 3, bad: 0.1 })
  expect(history.net('198.51.100.1')).toMatchObject({ recentGood: 20, recentBad: 0 })
})

test('a stranger costs no memory: the same past is returned for everybody', () => {
  const { history } = begin()
  expect(history.own('192.0.2.77')).toBe(NO_PAST)
  expect(history.net('192.0.2.77')).toBe(NO_PAST)
})

test('what is counted follows what a client turns into', () => {
  const { history, befriend } = begin()
  befriend('192.0.2.1')
  expect(history.count('known')).toBe(1)
  for (let i = 0; i < 6; i++) history.learn('192.0.2.1', BAD)
  expect([history.count('known'), history.count('suspect')]).toEqual([0, 1])
})

test('a clock that steps back forgets nothing and allows nothing', () => {
  const { clock, history, befriend, of } = begin()
  befriend('192.0.2.1')
  clock.now -= 30 * DAY
  expect(of('192.0.2.1')).toBe('known')
  history.learn('192.0.2.2', GOOD)
  for (let i = 0; i < 6; i++) history.learn('192.0.2.1', BAD)
  expect(of('192.0.2.1')).toBe('suspect')
})

test('bad mail weighs half as much a day later, also when something else is learnt then', () => {
  const { clock, history } = begin()
  for (let i = 0; i < 8; i++) history.learn('192.0.2.1', BAD)
  clock.now += DAY
  history.learn('192.0.2.1', GOOD)
  expect(history.own('192.0.2.1')).toMatchObject({ recentGood: 1, recentBad: 4 })
})

describe('logs may be read in any order', () => {
  type Line = readonly [daysAgo: number, lesson: Lesson]
  const daily = Array.from({ length: 10 }, (_, i): Line => [9 - i, GOOD])
  const read = (lines: readonly Line[]) => {
    const { history, of } = begin()
    for (const [daysAgo, lesson] of lines) history.learn('192.0.2.1', lesson, START - daysAgo * DAY)
    return { own: history.own('192.0.2.1'), standing: of('192.0.2.1') }
  }
  const many = (count: number, line: Line): Line[] => new Array<Line>(count).fill(line)

  test.each<[string, readonly Line[], string]>([
    ['a message a day for ten days', daily, 'known'],
    ['a friend with bad mail of weeks ago', [...many(8, [20, BAD]), ...daily], 'known'],
    [
      'a friend that turned bad today',
      [...many(60, [30, GOOD]), ...many(7, [3, GOOD]), ...many(20, [0, BAD])],
      'suspect',
    ],
    ['one that was bad first, and good since', [...many(40, [2, BAD]), ...many(40, [1, GOOD])], 'seen'],
  ])('%s', (_, lines, standing) => {
    const [forwards, backwards] = [read(lines), read([...lines].reverse())]
    expect([forwards.standing, backwards.standing]).toEqual([standing, standing])
    const { good, first, lastGood, lastBad } = forwards.own
    expect(backwards.own).toMatchObject({ good, first, lastGood, lastBad })
  })
})

test('bad mail of years ago, of which nothing is left, changes nothing', () => {
  const { history } = begin(4096, 4000 * DAY)
  history.learn('192.0.2.1', { good: 30, bad: 0 }, START)
  history.learn('192.0.2.1', BAD, START - 3000 * DAY)
  expect(history.own('192.0.2.1')).toMatchObject({ good: 30, recentGood: 25, recentBad: 0 })
})

test('what one node tells late sets nothing back', () => {
  const { clock, history } = begin()
  history.share()
  history.learn('192.0.2.1', { good: 0, bad: 4 })
  history.learn('192.0.2.1', GOOD)
  clock.now += DAY
  // Others have heard of it since.
  history.hear(KEY, { ...heard(20), lastGood: HOUR + 24 })
  expect(history.own('192.0.2.1')).toMatchObject({ good: 21, lastGood: HOUR + 24, lastBad: HOUR, recentBad: 2 })
})

/** 192.0.2.1 as nodes tell each other of it. */
const KEY = '00000000c0000201'
const HOUR = hourOf(START)
const heard = (good: number): Past => ({
  ...NO_PAST,
  good,
  recentGood: Math.min(25, good),
  first: HOUR - 48,
  lastGood: HOUR,
})

test('to what is heard of a client is added what was not told yet, and nothing else', () => {
  const { history } = begin()
  history.share()
  history.learn('192.0.2.1', GOOD)
  expect(history.hear(KEY, heard(5))).toBeUndefined()
  expect(history.own('192.0.2.1')).toMatchObject({ good: 6, first: HOUR - 48 })
  expect(history.takeUntold(10)).toEqual([{ key: KEY, since: HOUR, hour: HOUR, good: 1, bad: 0, undone: 0 }])
  history.hear(KEY, heard(6))
  expect(history.own('192.0.2.1')).toMatchObject({ good: 6 })
})

test('whoever is said to have sent less than is known here stays as he is, and that is to be told', () => {
  const { history, of } = begin()
  history.hear(KEY, heard(10))
  expect(history.hear(KEY, heard(1))).toMatchObject({ good: 10 })
  expect(of('192.0.2.1')).toBe('known')
})

test('times that are ahead of this node are brought back to now', () => {
  const { history } = begin()
  history.hear(KEY, { ...heard(10), lastGood: HOUR + 1000, lastBad: HOUR + 1000 })
  expect(history.own('192.0.2.1')).toMatchObject({ lastGood: HOUR, lastBad: HOUR })
})
