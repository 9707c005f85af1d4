/** What is said of a run: which goals were met and which were missed. */
import { describe, expect, test } from '@jest/globals'
import { chart } from '../../bench/flood/chart.ts'
import { goalsOf, isMet } from '../../bench/flood/goals.ts'
import type { ClassTally } from '../../bench/flood/ledger.ts'
import type { Result } from '../../bench/flood/run.ts'

const tally = (more: Partial<ClassTally> = {}): ClassTally => ({
  ...{ sent: 1000, tried: 1000, atFirstTry: 1000, within30Min: 1000, within4H: 1000, p50Ms: 100, p99Ms: 200 },
  ...{ once: 1000, twice: 0, never: 0, lost: 0, putOffByUs: 0, refusedByUs: 0 },
  ...more,
})
/** The same at the height of the flood as over the whole run, if `more` does not say otherwise. */
const result = (
  more: Partial<Result> = {},
  known: Partial<ClassTally> = {},
  first: Partial<ClassTally> = {},
): Result => {
  const classes = { known: tally(known), 'first contact': tally({ sent: 100, ...first }), spam: tally() }
  return {
    ...{ contender: 'spillway', hasFlood: true, isFullFlood: true, isDotTrue: true, isFirstDay: false },
    ...{ isCut: false, overCapacity: 1, heldAfterS: undefined, figures: [] },
    ...{ classes, atHeight: classes },
    ...more,
  } as Result
}
const calm = result({ contender: 'calm' })
const blind = result({ contender: 'blind' }, { atFirstTry: 90 }, { atFirstTry: 10 })

/** Goals by whether they were met. */
const judge = (results: readonly Result[]): Record<string, boolean> =>
  Object.fromEntries(goalsOf(results).map((each) => [each.goal, isMet(each)]))

describe('a flood', () => {
  const met = { atFirstTry: 990, p99Ms: 300 }
  const first = { atFirstTry: 10, within30Min: 80, within4H: 95 }
  test('each goal is met at its figure', () => {
    const goals = judge([result({ overCapacity: 1.2 }, met, first), { ...blind }, calm])
    expect(Object.keys(goals)).toHaveLength(9)
    expect(Object.values(goals)).not.toContain(false)
  })
  test.each<[string, Result]>([
    ['known senders, first try', result({}, { ...met, atFirstTry: 989 }, first)],
    ['first contacts, 30 min', result({}, met, { ...first, within30Min: 79 })],
    ['first contacts, 4 h', result({}, met, { ...first, within4H: 94 })],
    ['p99 of known senders, times that without the flood', result({}, { ...met, p99Ms: 302 }, first)],
    ['begun upstream in the worst 10 s, times the capacity', result({ overCapacity: 1.21 }, met, first)],
    ['honest mail lost', result({}, met, { ...first, lost: 1 })],
    ['honest mail doubled', result({}, { ...met, twice: 1 }, first)],
    ['5yz by Spillway to honest mail', result({}, { ...met, refusedByUs: 1 }, first)],
  ])('%s: missed just below it, and nothing else is', (goal, missed) => {
    const easy = result({ contender: 'blind' }, { atFirstTry: 9 }, { atFirstTry: 1 })
    const goals = judge([missed, easy, calm])
    expect(Object.entries(goals).filter(([, isMet]) => !isMet)).toEqual([[goal, false]])
  })
  test('ten times what blind shedding lets in at the first try', () => {
    const goal = 'honest mail at the first try, times that of blind shedding'
    expect(judge([result({}, met, first), blind])[goal]).toBe(true)
    expect(judge([result({}, { ...met, atFirstTry: 980 }, first), blind])[goal]).toBe(false)
  })
  test('shares are of what was sent at the height of the flood; nothing may be lost before it either', () => {
    const { classes: low } = result({}, { ...met, atFirstTry: 1, lost: 1 }, { ...first, within30Min: 0 })
    const goals = judge([result({ classes: low }, met, first)])
    expect(goals['known senders, first try']).toBe(true)
    expect(goals['first contacts, 30 min']).toBe(true)
    expect(goals['honest mail lost']).toBe(false)
  })
  test('what a run cannot tell is not judged', () => {
    const goals = judge([result({}, met, { sent: 0 })])
    expect(Object.keys(goals).filter((goal) => /first contacts|p99|blind/.test(goal))).toEqual([])
    expect(judge([result({}, met, { ...first, within4H: undefined })])).not.toHaveProperty('first contacts, 4 h')
    expect(goalsOf([blind])).toEqual([])
  })
})

test('without a flood: what must always hold, and what the scenario is about', () => {
  expect(Object.keys(judge([result({ isFullFlood: false, heldAfterS: 61 })]))).toHaveLength(5)
  const held = 'a sender that turned bad is held to the limit of strangers after'
  expect(judge([result({ isFullFlood: false, heldAfterS: 60 })])[held]).toBe(true)
  expect(judge([result({ isFullFlood: false, heldAfterS: 61 })])[held]).toBe(false)
  const first = 'honest mail put off by Spillway'
  expect(judge([result({ isFullFlood: false, isFirstDay: true })])[first]).toBe(true)
  expect(judge([result({ isFullFlood: false, isFirstDay: true }, {}, { putOffByUs: 1 })])[first]).toBe(false)
})

test('a chart has a line for each contender, and the level below', () => {
  const points = [0, 10, 20].map((s) => ({ s, share: s / 20 }))
  const lines = [{ name: 'a<b', points }]
  const levels = [{ s: 10, level: 2, pressure: 1, signal: 'memory' }]
  const svg = chart({ title: 'S1 & more', lines, levels })
  expect(svg).toContain('points="56.0,260.0 376.0,150.0 696.0,40.0"')
  expect(svg).toContain('S1 &amp; more')
  expect(svg).toContain('a&lt;b')
  expect(svg).toContain('y="350" width="32.0" height="30"')
  expect(chart({ title: '', lines, levels: [] })).not.toContain('overload level')
})
