/** What each scenario is about, by hand: the figure that a run gives, and when its goal is missed. */
import { describe, expect, test } from '@jest/globals'
import { figuresOf, type Run } from '../../bench/flood/figures.ts'
import { isMet } from '../../bench/flood/goals.ts'
import type { Delivery } from '../../bench/flood/ledger.ts'
import { SLOW_MAILBOX } from '../../bench/flood/names.ts'
import { SCENARIOS, type Scenario } from '../../bench/flood/scenarios.ts'

let names = 0
/** Accepted at the first try, 250 ms after it was sent, of which the dot took 200. */
const mail = (s: number, more: Partial<Delivery> = {}, to = 'u1@cluster.example'): Delivery => ({
  ...{ id: `h${names++} ${to}`, class: 'known', sentMs: s * 1000, tries: 1, acceptedMs: s * 1000 + 250 },
  ...{ tookMs: 250, dotMs: 200, atFirstTry: true },
  ...more,
})
const usual = (fromS: number, toS: number, more: Partial<Delivery> = {}, to?: string): Delivery[] =>
  Array.from({ length: 10 * (toS - fromS) }, (_, i) => mail(fromS + i / 10, more, to))

/** A run of a scenario, and its goals by whether they were met. */
function judge(name: string, shorter: Partial<Scenario>, run: Partial<Run>): Record<string, boolean> {
  const scenario = { ...(SCENARIOS.find((each) => each.name === name) as Scenario), ...shorter }
  const honest = run.honest ?? []
  const whole: Run = {
    ...{ scenario, honest, levels: [], turned: [], queue: [], dotsOverCapacity: 1, limit: 5, suspects: 0, unknown: 0 },
    ...{ strangersShed: 0, known: { before: 100, after: 100 } },
    ...{ arrived: new Map(honest.map(({ id, acceptedMs }) => [id, acceptedMs === undefined ? 0 : 1])), ...run },
  }
  return Object.fromEntries(figuresOf(whole).map((each) => [each.goal, isMet(each)]))
}
const missed = (goals: Record<string, boolean>): string[] =>
  Object.entries(goals).flatMap(([goal, met]) => (met ? [] : [goal]))

test('S6: the p99 under handshakes to that before them', () => {
  const handshakes = [{ addresses: 1000, atS: 10, forS: 10 }]
  const with99 = (tookMs: number) => [...usual(0, 10), ...usual(11, 20).map((each) => ({ ...each, tookMs }))]
  expect(missed(judge('S6', { handshakes }, { honest: with99(500) }))).toEqual([])
  expect(missed(judge('S6', { handshakes }, { honest: with99(501) }))).toEqual([
    'p99 of honest mail while 1000 addresses do nothing but handshakes, to the usual',
  ])
})

test('S7: known senders and first contacts apart', () => {
  const slow = { atS: 10, clients: 1, in: 'DATA' } as const
  const put = { class: 'first contact', atFirstTry: false } as const
  const goals = judge('S7', { slow, seconds: 30 }, { honest: [...usual(0, 30), ...usual(12, 13, put)] })
  expect(missed(goals)).toEqual(['first contacts, first try, beside slow clients'])
})

describe('S9', () => {
  const scenario = { seconds: 40, k: 60, down: { atS: 10, min: 10 } }
  test('the dot after the return, in the worst ten seconds of all', () => {
    const slowDots = usual(35, 38, { dotMs: 401 }).map((each) => ({ ...each, acceptedMs: each.sentMs }))
    const honest = [...usual(0, 10), ...usual(20, 35)]
    expect(missed(judge('S9', scenario, { honest }))).toEqual([])
    expect(missed(judge('S9', scenario, { honest: [...honest, ...slowDots] }))).toEqual([
      'p95 of the dot in the worst 10 s after the return, to the usual',
    ])
  })
  test('a run in which no ten seconds after the return have twenty dots cannot tell, and misses', () => {
    expect(missed(judge('S9', scenario, { honest: usual(0, 10) }))).toEqual([
      'p95 of the dot in the worst 10 s after the return, to the usual',
    ])
  })

  test('who has tried after the return and is not in has starved; who gave up before has not', () => {
    const { acceptedMs: _, ...never } = mail(5)
    const honest = [...usual(0, 10), ...usual(20, 40), { ...never, lastTriedMs: 15_000 }]
    expect(missed(judge('S9', scenario, { honest }))).toEqual([])
    const starved = [...honest, { ...never, lastTriedMs: 25_000 }]
    expect(missed(judge('S9', scenario, { honest: starved }))).toEqual([
      'honest mail tried after the return, and not in at the end',
    ])
  })
})

test('S10: what goes to the slow mailbox is not the others’, and a level is to be laid to the mail server', () => {
  const slowMailbox = [{ atS: 10, share: 0.1, dotMs: 10_000 }]
  const honest = [...usual(0, 30), ...usual(10, 12, { tookMs: 10_000 }, SLOW_MAILBOX)]
  const levels = Array.from({ length: 30 }, (_, s) => ({
    ...{ s, level: s > 20 ? 1 : 0, pressure: 1, signal: 'upstream_latency', slowest: 'mail' },
  }))
  const scenario = { slowMailbox, seconds: 30 }
  expect(missed(judge('S10', scenario, { honest, levels }))).toEqual([])
  // A message to both waits for the slow one.
  const both = usual(10, 12, { tookMs: 10_000 }, SLOW_MAILBOX)
  const companions = both.map((each) => ({ ...each, id: each.id.replace('u0@', 'u1@') }))
  expect(missed(judge('S10', scenario, { honest: [...honest, ...both, ...companions], levels }))).toEqual([])
  const others = levels.map((each) => ({ ...each, signal: 'memory' }))
  expect(missed(judge('S10', scenario, { honest, levels: others }))).toEqual([
    'seconds of a level above 0 that is not laid to the mail server',
  ])
  expect(missed(judge('S10', scenario, { honest: usual(0, 30, { tookMs: 250 }), levels: [] }))).toHaveLength(2)
})

test('S11: what a reply takes longer, without the dot; and the limit of one address in any ten seconds', () => {
  const redis = [{ fault: 'frozen', atS: 10, forS: 15 }] as const
  const held = (perSecond: number) => new Array<number>(40).fill(perSecond)
  const of = (tookMs: number, perSecond: number) =>
    missed(
      judge('S11', { redis }, { honest: [...usual(0, 10), ...usual(10, 25, { tookMs })], turned: held(perSecond) }),
    )
  expect(of(300, 6)).toEqual([])
  expect(of(301, 6)).toEqual(['p95 of all but the dot while Redis is frozen, later than usual by'])
  expect(of(300, 7)).toEqual(["a stranger's messages in the worst 10 s while Redis is frozen, to its limit"])
  // Nothing came: nobody can tell what would have been let in.
  expect(of(300, 0)).toEqual(["a stranger's messages in the worst 10 s while Redis is frozen, to its limit"])
})

describe('what is doubled', () => {
  const [first, second] = [mail(1), mail(2)]
  const arrived = new Map([first, second].map(({ id }) => [id, 2]))
  const doubled = (name: string, honest: Delivery[], unknown: number) =>
    missed(judge(name, {}, { honest, arrived, unknown })).filter((goal) => goal.includes('doubled'))
  test('S9: so many as are logged as unknown', () => {
    expect(doubled('S9', [first, second], 2)).toEqual([])
    expect(doubled('S9', [first, second], 1)).toHaveLength(1)
  })
  test('S12: or were cut at their dot', () => {
    expect(doubled('S12', [{ ...first, isCutPastDot: true }, second], 1)).toEqual([])
    expect(doubled('S12', [{ ...first, isCutPastDot: true }, second], 0)).toHaveLength(1)
  })
})

test('S15: known senders from the moment on in which the snowshoe turns bad', () => {
  const turnsBad = { atS: 5, perSecond: 100, who: 'a known /24' } as const
  const put = { atFirstTry: false } as const
  expect(missed(judge('S15', { turnsBad }, { honest: [...usual(0, 5, put), ...usual(5, 10)] }))).toEqual([])
  expect(missed(judge('S15', { turnsBad }, { honest: [...usual(5, 10), ...usual(6, 7, put)] }))).toHaveLength(1)
})

test('S17: how many are refused for good before the guard holds, and none afterwards', () => {
  const directory = { atS: 10, forS: 10 }
  const levels = [{ s: 14, level: 0, pressure: 0, signal: 'memory', isGuarding: true }]
  const refused = (count: number, s: number) =>
    usual(0, 10)
      .slice(0, count)
      .map((each) => ({ ...each, refusedMs: s * 1000 }))
  const of = (run: Partial<Run>) => missed(judge('S17', { directory }, { levels, ...run }))
  expect(of({ honest: refused(40, 12) })).toEqual([])
  expect(of({ honest: refused(41, 12) })).toEqual(['recipients there are that were refused for good'])
  expect(of({ honest: refused(1, 15.1) })).toEqual(['of them while the guard held'])
  expect(of({ levels: [] })).toEqual(['the guard holds after'])
  expect(of({ known: { before: 100, after: 99 } })).toEqual(['known clients after it, of those before'])
  expect(of({ suspects: 1 })).toEqual(['sessions of suspects'])
})

test('S18: a level that the queue has raised, strangers put off, and how long the queue became', () => {
  const at = (level: number, signal: string) => [{ s: 1, level, pressure: 1.5, signal }]
  const run = { honest: usual(0, 10), levels: at(2, 'reported_queue'), strangersShed: 1, queue: [0.5, 2, 1] }
  const of = (more: Partial<Run>) => missed(judge('S18-asked', {}, { ...run, ...more }))
  expect(of({})).toEqual([])
  expect(of({ levels: at(3, 'upstream_slots') })).toEqual(['the highest level that the reported queue has raised'])
  expect(of({ strangersShed: 0 })).toEqual(['sessions of strangers put off'])
  expect(of({ queue: [2.1] })).toEqual(['the queue at its longest, to what it may hold'])
})

test('S13 and S19: what the cluster was given of a burst; known senders within half an hour of model time', () => {
  expect(missed(judge('S13', {}, { dotsOverCapacity: 0.89 }))).toHaveLength(1)
  const late = usual(0, 1, { acceptedMs: 32_000 })
  expect(missed(judge('S19-day', {}, { honest: [...usual(0, 9), ...late] }))).toEqual([])
  expect(missed(judge('S19-day', {}, { honest: [...usual(0, 8), ...late] }))).toHaveLength(1)
  expect(judge('S19-nothing', {}, { honest: late })).toEqual({})
})

test('a run that has none of it has no such goals', () => {
  expect(judge('S1', {}, { honest: usual(0, 10) })).toEqual({})
})
