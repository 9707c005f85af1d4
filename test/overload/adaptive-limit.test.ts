/** How many connections a server is found to be able to use, by plain numbers and by a server that is simulated. */
import { describe, expect, test } from '@jest/globals'
import { afterWindow, firstState, type LimitState, restarted } from '../../src/overload/adaptive-limit.ts'
import type { Timed, Times, WindowSummary } from '../../src/overload/window.ts'

const BOUNDS = { floor: 5, ceiling: 100 }
const all = (ms: number, count = 50): Times => ({ count, median: ms, p95: ms })
const windowOf = (times: Partial<Record<Timed, Times>>, more: Partial<WindowSummary> = {}): WindowSummary => ({
  times,
  asked: 50,
  drops: 0,
  dropNets: 0,
  mostInUse: 100,
  ...more,
})
const through = (state: LimitState, window: WindowSummary, windows: number, bounds = BOUNDS): LimitState => {
  let last = state
  for (let i = 0; i < windows; i++) last = afterWindow(last, window, bounds)
  return last
}
const known = through(firstState(BOUNDS), windowOf({ connect: all(30), rcpt: all(40), dot: all(100) }), 1)

test('it begins in the middle, and where it does not adapt it is what was set', () => {
  expect(firstState(BOUNDS).limit).toBe(50)
  expect(firstState({ floor: 50, ceiling: 50 }).limit).toBe(50)
})

describe('as long as replies take no longer than is tolerated', () => {
  test('it rises to the ceiling, and no further', () => {
    expect(through(known, windowOf({ dot: all(110) }), 1).limit).toBeCloseTo(50 + 0.2 * Math.sqrt(50))
    expect(through(known, windowOf({ dot: all(190) }), 1).limit).toBeGreaterThan(50)
    expect(through(known, windowOf({ dot: all(100) }), 100).limit).toBe(100)
  })

  test('it does not rise while less than half of it is used', () => {
    expect(through(known, windowOf({ dot: all(100) }, { mostInUse: 24 }), 10).limit).toBe(50)
    expect(through(known, windowOf({ dot: all(100) }, { mostInUse: 25 }), 1).limit).toBeGreaterThan(50)
  })

  test('of an idle server no time below 20 ms is slow', () => {
    const quick = through(firstState(BOUNDS), windowOf({ dot: all(1) }), 1)
    expect(through(quick, windowOf({ dot: all(39) }), 1).limit).toBeGreaterThan(50)
    expect(through(quick, windowOf({ dot: all(200) }), 1).limit).toBeLessThan(50)
  })
})

describe('when replies take longer', () => {
  test.each<[Timed, number]>([
    ['dot', 250],
    ['rcpt', 40 * 5],
    ['connect', 30 * 5],
  ])('%s at %i ms takes it down', (command, ms) => {
    expect(through(known, windowOf({ dot: all(100), [command]: all(ms) }), 1).limit).toBeLessThan(50)
  })

  test('ten times as long takes it to a half within ten windows', () => {
    expect(through(known, windowOf({ dot: all(1000) }), 9).limit).toBeLessThan(30)
  })

  test('halved in vain, it is what it was before, and what is seen is usual', () => {
    let state = known
    const limits = Array.from({ length: 20 }, () => {
      state = afterWindow(state, windowOf({ connect: all(60), dot: all(1000) }), BOUNDS)
      return state.limit
    })
    expect(Math.min(...limits)).toBeGreaterThan(20)
    expect(limits.at(-1)).toBeGreaterThanOrEqual(50)
    expect(state.usual).toEqual({ connect: 60, rcpt: 40, dot: 1000 })
  })

  test('a fall that helps goes on, half by half, as long as replies are late', () => {
    let state = known
    for (let i = 0; i < 40; i++) state = afterWindow(state, windowOf({ dot: all(40 * state.limit) }), BOUNDS)
    expect(state.limit).toBeLessThan(10)
    expect(state.usual.dot).toBe(100)
  })

  test('a mailbox that is slow for less than half of the mail changes nothing', () => {
    const slow = windowOf({ dot: { count: 50, median: 110, p95: 30_000 } })
    expect(through(known, slow, 10).limit).toBeGreaterThan(50)
  })

  test('late replies to RCPT say nothing where no message comes to its dot', () => {
    const flood = windowOf({ connect: all(9000), rcpt: all(9000), dot: all(100, 9) })
    expect(through(known, flood, 20).limit).toBe(50)
  })

  test('nine replies say nothing', () => {
    expect(through(known, windowOf({ dot: all(10_000, 9) }), 10).limit).toBe(50)
    expect(through(known, windowOf({ dot: all(10_000, 10) }), 10).limit).toBeLessThan(40)
  })

  test('that does not become usual while the limit is used', () => {
    expect(through(known, windowOf({ dot: all(500) }), 5).usual.dot).toBe(100)
  })

  test('where less than half of it is used that becomes usual, slowly', () => {
    const slow = windowOf({ dot: all(500) }, { mostInUse: 2 })
    expect(afterWindow(known, slow, BOUNDS).usual.dot).toBeCloseTo(102)
    expect(through(known, slow, 600).usual.dot).toBeGreaterThan(400)
  })

  test('quicker ones become usual soon', () => {
    expect(through(known, windowOf({ dot: all(50) }), 30).usual.dot).toBeLessThan(62)
  })
})

describe('drops', () => {
  test('a tenth of what was asked, from two sources, takes off a quarter', () => {
    const dropping = windowOf({ dot: all(100) }, { drops: 5, dropNets: 5 })
    expect(through(known, dropping, 1).limit).toBe(37.5)
    expect(through(known, dropping, 20).limit).toBe(5)
  })

  test.each([
    { drops: 4, dropNets: 9 },
    { drops: 50, dropNets: 4 },
  ])('fewer, or those of one source alone, take off nothing: %o', (drops) => {
    expect(through(known, windowOf({ dot: all(100) }, drops), 1).limit).toBeGreaterThanOrEqual(50)
  })
})

describe('after an outage', () => {
  const back = restarted({ ...known, limit: 80 }, BOUNDS)

  test('it begins at a tenth, doubles while the dot is no slower than twice the usual, and ends where it was', () => {
    const limits = [back.limit]
    let state = back
    while (state.goal !== undefined) {
      state = through(state, windowOf({ dot: all(190, 3) }, { mostInUse: 8 }), 1)
      limits.push(state.limit)
    }
    expect(limits).toEqual([8, 16, 32, 64, 80])
  })

  test('it waits while the 95th percentile of the dot is slower, however long that lasts', () => {
    const slow = windowOf({ dot: { count: 50, median: 100, p95: 201 } })
    expect(through(back, slow, 100).limit).toBe(8)
  })

  test('too few replies say nothing, and a window without a reply neither', () => {
    expect(through(back, windowOf({ dot: all(100, 2) }), 10).limit).toBe(8)
    expect(through(back, windowOf({}), 10).limit).toBe(8)
  })

  test('a second outage on the way leads back to the same number', () => {
    const again = restarted(through(back, windowOf({ dot: all(100, 3) }), 1), BOUNDS)
    expect(again).toMatchObject({ limit: 8, goal: 80 })
  })

  test('drops end it: the server has shown that it is enough', () => {
    const dropping = windowOf({ dot: all(100) }, { drops: 5, dropNets: 5 })
    expect(through(back, dropping, 1)).toMatchObject({ limit: 6, goal: undefined })
  })

  test('it is never below the floor, and never above a ceiling that was lowered', () => {
    expect(restarted({ ...known, limit: 20 }, BOUNDS).limit).toBe(5)
    const lowered = { floor: 5, ceiling: 40 }
    expect(through(back, windowOf({ dot: all(100, 3) }), 4, lowered).limit).toBe(40)
  })
})

/**
 * A server with so many places, each of which takes `ms` for a message: as many connections as the limit allows are in use, and
 * those beyond the places wait. The time of a reply is then `ms · inUse / places`.
 */
function settledAt(places: number, ms: number, from: LimitState): number {
  let state = from
  for (let i = 0; i < 400; i++) {
    const inUse = Math.floor(state.limit)
    state = afterWindow(state, windowOf({ dot: all(ms * Math.max(1, inUse / places)) }, { mostInUse: inUse }), BOUNDS)
  }
  return state.limit
}

test.each([10, 20, 40])(
  'against a server of %i places it keeps them busy, with a queue of at most twice as many',
  (n) => {
    const usual = { ...firstState(BOUNDS), usual: { dot: 100 } }
    const limit = settledAt(n, 100, usual)
    expect(limit).toBeGreaterThanOrEqual(n)
    expect(limit).toBeLessThanOrEqual(3 * n)
  },
)
