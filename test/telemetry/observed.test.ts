/** What checks in observe mode would have refused: counting, the senders that are kept, and workers together. */
import { describe, expect, test } from '@jest/globals'
import type { Standing } from '../../src/core/client.ts'
import type { CheckName } from '../../src/core/reasons.ts'
import { createMetrics, HEARD } from '../../src/telemetry/metrics.ts'
import { MOST_SENDERS, tallyTogether } from '../../src/telemetry/observed/report.ts'
import { type Observed, ObservedTally } from '../../src/telemetry/observed/tally.ts'

function setUp() {
  const metrics = createMetrics({ version: 'x', upstreams: [] })
  let now = 0
  const tally = new ObservedTally({ metrics, now: () => now })
  const ended = (source: string, standing: Standing, session: Partial<Observed> = {}): void => {
    now += 1000
    const observed = new Set<CheckName>(['helo'])
    const rest = { observed, uses: undefined, helo: undefined, accepted: true, heardNo: false }
    tally.ended({ source, standing }, { ...rest, ...session })
  }
  const count = (check: CheckName) =>
    HEARD.map((heard) => metrics.observeWouldRefuse.sum((row) => row[0] === check && row[1] === heard))
  const of = (name: CheckName) => tally.report().checks.find(({ check }) => check === name)
  return { metrics, tally, ended, count, of }
}

describe('a session', () => {
  test('counts once for each check, by what was heard of it', () => {
    const { ended, count, metrics, of } = setUp()
    ended('192.0.2.1', 'new', { observed: new Set<CheckName>(['helo', 'pregreet']) })
    // What was accepted outweighs a recipient that was refused beside it.
    ended('192.0.2.1', 'seen', { heardNo: true })
    ended('192.0.2.2', 'suspect', { accepted: false, heardNo: true })
    ended('192.0.2.3', 'new', { accepted: false })
    ended('192.0.2.4', 'new', { observed: undefined })
    expect([count('helo'), count('pregreet'), count('size')]).toEqual([
      [2, 1, 1],
      [1, 0, 0],
      [0, 0, 0],
    ])
    expect(metrics.observeWouldRefuse.of('helo', 'refused', 'suspect').value).toBe(1)
    expect(of('helo')?.heard.accepted).toMatchObject({ new: 1, seen: 1 })
    expect(of('size')).toBeUndefined()
    // Only senders whose mail was accepted are kept, with what they said and were last.
    expect(of('helo')?.senders).toEqual([{ source: '192.0.2.1', standing: 'seen', sessions: 2, last: 2000 }])
  })

  test('keeps no more than 255 characters of a name', () => {
    const { ended, of } = setUp()
    ended('192.0.2.1', 'new', { helo: 'x'.repeat(5000) })
    expect(of('helo')?.senders[0]?.helo).toHaveLength(255)
  })
})

describe('the senders of a check', () => {
  test('are a fixed number; a flood of strangers pushes out no known one, and not the stranger that comes most', () => {
    const { ended, of } = setUp()
    ended('192.0.2.1', 'known')
    for (let i = 0; i < 5; i++) ended('192.0.2.2', 'new')
    for (let i = 0; i < 250; i++) ended(`198.51.100.${i}`, 'new')
    const { senders, more } = of('helo') ?? { senders: [], more: false }
    expect([senders.length, more]).toEqual([MOST_SENDERS, true])
    expect(senders[0]).toMatchObject({ source: '192.0.2.1', standing: 'known', sessions: 1 })
    expect(senders.find(({ source }) => source === '192.0.2.2')).toMatchObject({ sessions: 5 })
    // Whoever comes again and again finds room later, too.
    for (let i = 0; i < 3; i++) ended('192.0.2.3', 'new')
    expect(of('helo')?.senders.find(({ source }) => source === '192.0.2.3')).toMatchObject({ sessions: 3 })
    // What a row has inherited is not counted for the sender that has it now.
    expect(senders.filter(({ sessions }) => sessions > 1)).toHaveLength(1)
  })

  test('when all have a better standing, a stranger finds no room', () => {
    const { ended, of } = setUp()
    for (let i = 0; i < MOST_SENDERS; i++) ended(`192.0.2.${i}`, 'seen')
    ended('198.51.100.1', 'new')
    expect(of('helo')).toMatchObject({ more: true })
    expect(of('helo')?.senders.every(({ standing }) => standing === 'seen')).toBe(true)
    ended('198.51.100.2', 'known')
    expect(of('helo')?.senders[0]?.source).toBe('198.51.100.2')
  })
})

test('the most that was used is that of known and seen senders whose mail was accepted, as a share of their maximum', () => {
  const { ended, of } = setUp()
  const used = (source: string, standing: Standing, most: number, max: number, more: Partial<Observed> = {}): void =>
    ended(source, standing, { uses: new Map([['helo', { used: most, max }]]), ...more })
  used('192.0.2.1', 'new', 900, 10)
  used('192.0.2.2', 'known', 800, 10, { accepted: false, heardNo: true })
  used('192.0.2.5', 'trusted', 700, 10)
  expect(of('helo')?.peaks).toEqual([])
  used('192.0.2.3', 'seen', 15, 10)
  used('192.0.2.4', 'known', 45, 40)
  used('192.0.2.6', 'seen', 20, 19)
  expect(of('helo')?.peaks).toEqual([
    { source: '192.0.2.4', standing: 'known', used: 45, max: 40 },
    { source: '192.0.2.3', standing: 'seen', used: 15, max: 10 },
  ])
})

test('workers together: sessions add up, a sender is one, and the furthest beyond its maximum counts', () => {
  const [one, two] = [setUp(), setUp()] as const
  one.ended('192.0.2.1', 'seen', { helo: 'before', uses: new Map([['helo', { used: 3, max: 2 }]]) })
  two.ended('192.0.2.9', 'suspect', { accepted: false })
  two.ended('192.0.2.1', 'seen', { helo: 'after', uses: new Map([['helo', { used: 9, max: 4 }]]) })
  const { since, checks } = tallyTogether([one.tally.report(), two.tally.report()])
  expect([since, checks.map(({ check }) => check)]).toEqual([0, ['helo']])
  expect(checks[0]).toMatchObject({
    senders: [{ source: '192.0.2.1', standing: 'seen', helo: 'after', sessions: 2, last: 2000 }],
    heard: { accepted: { seen: 2 }, none: { suspect: 1 } },
    peaks: [{ source: '192.0.2.1', standing: 'seen', used: 9, max: 4 }],
    more: false,
  })
})
