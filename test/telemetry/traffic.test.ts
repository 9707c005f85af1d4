/** The traffic of the last hour, with a clock of its own. */
import { describe, expect, test } from '@jest/globals'
import { json } from '../../src/admin/response.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { distinct, note, registers } from '../../src/telemetry/traffic/distinct.ts'
import { HeavyHitters } from '../../src/telemetry/traffic/heavy-hitters.ts'
import { type TrafficReport, trafficTogether } from '../../src/telemetry/traffic/report.ts'
import { Traffic } from '../../src/telemetry/traffic/traffic.ts'
import { HOURS, Week } from '../../src/telemetry/traffic/week.ts'

const HOUR = 3_600_000
const MINUTE = 60_000
const rates = (connections: number) => ({ connections, senders: connections / 2, messages: connections / 4 })

describe('heavy hitters', () => {
  test('what comes often stays, whatever comes once in between', () => {
    const table = new HeavyHitters(64)
    for (let i = 0; i < 100_000; i++) table.add(i % 10 === 0 ? 'often' : `once ${i}`, 1, i % 20 === 0)
    const [first, second] = table.top(5)
    expect(first).toMatchObject({ key: 'often', marked: 0.5 })
    expect(first?.count).toBeGreaterThan(9000)
    // What a row has inherited is not told of its new key.
    expect(second?.count).toBe(1)
    expect(table.top(1000).length).toBe(64)
  })

  test('counts decay, and what is as good as gone makes room', () => {
    const table = new HeavyHitters(4)
    table.add('a', 8)
    table.decay(0.5)
    expect(table.top(4)).toEqual([{ key: 'a', count: 4, marked: 0 }])
    for (let i = 0; i < 10; i++) table.decay(0.5)
    expect(table.top(4)).toEqual([])
    table.add('b')
    expect(table.top(4)).toEqual([{ key: 'b', count: 1, marked: 0 }])
  })

  test('a key keeps nothing of the longer string that it was cut from', () => {
    const table = new HeavyHitters(512)
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < 512; i++) table.add(`${i} ${'x'.repeat(100_000)}`.slice(0, 40))
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(40_000_000)
  })
})

test.each([0, 1, 50, 1000, 20_000])('%i different keys are told to within a tenth', (count) => {
  const [even, odd] = [registers(), registers()]
  for (let i = 0; i < count; i++)
    for (let twice = 0; twice < 2; twice++) note(i % 2 ? odd : even, `10.${i >> 8}.${i & 255}.7`, 99)
  expect(Math.abs(distinct([even, odd]) - count)).toBeLessThanOrEqual(count / 10)
})

describe('the normal of an hour of the week', () => {
  /** @param at where the hour begins */
  const hour = (week: Week, at: number, connections: number | ((minute: number) => number), isOverloaded = false) => {
    for (let i = 0; i < 60; i++)
      week.minute(at + i * MINUTE, rates(typeof connections === 'number' ? connections : connections(i)), isOverloaded)
  }

  test('is not known at first, then by other hours, then by itself', () => {
    const week = new Week()
    for (let i = 0; i < 4; i++) {
      expect(week.normal(i * HOUR)).toBeUndefined()
      hour(week, i * HOUR, 100 + i)
    }
    expect(week.normal(4 * HOUR)).toMatchObject({ basis: 'hours', hours: 3, connections: 101 })
    for (let i = 4; i <= HOURS; i++) hour(week, i * HOUR, 100 + i)
    expect(week.normal((HOURS + 4) * HOUR)).toMatchObject({
      basis: 'week',
      hours: HOURS,
      connections: 104,
      messages: 26,
    })
  })

  test('a flood of minutes teaches next to nothing, one of overload nothing, and one of an hour a half', () => {
    const floods: [string, (week: Week, at: number) => void, number][] = [
      ['minutes', (week, at) => hour(week, at, (i) => (i < 10 ? 10_000 : 100)), 115],
      ['overload', (week, at) => hour(week, at, 10_000, true), 100],
      ['an hour', (week, at) => hour(week, at, 10_000), 152],
    ]
    for (const [name, flood, most] of floods) {
      const week = new Week()
      for (let i = 0; i <= HOURS; i++) hour(week, i * HOUR, 100)
      flood(week, (HOURS + 1) * HOUR)
      hour(week, (HOURS + 2) * HOUR, 100)
      const { connections } = week.normal((2 * HOURS + 1) * HOUR) ?? { connections: 0 }
      expect({ name, isSo: connections >= 99 && connections <= most }).toEqual({ name, isSo: true })
    }
  })

  test('an hour that is not known yet learns no flood either', () => {
    const week = new Week()
    for (let i = 0; i < 5; i++) hour(week, i * HOUR, 100)
    hour(week, 5 * HOUR, 50_000)
    hour(week, 6 * HOUR, 100)
    expect(week.normal((HOURS + 5) * HOUR)?.connections).toBe(305)
  })

  test('a flood of a day is no normal at its end, on a site that was new when it began', () => {
    for (const [calm, begun] of [
      [100, 1],
      [100, 3],
      [100, 5],
      [2, 20],
    ] as const) {
      const week = new Week()
      for (let i = 0; i < begun; i++) hour(week, i * HOUR, calm)
      for (let i = begun; i < begun + 24; i++) hour(week, i * HOUR, 38 * calm + 200)
      const { connections = 0 } = week.normal((begun + 24) * HOUR) ?? {}
      // Three times normal is a flood.
      expect([calm, begun, connections <= 3 * calm + 5]).toEqual([calm, begun, true])
      for (let i = begun + 24; i < HOURS; i++) hour(week, i * HOUR, calm)
      // A week later an hour of the flood counts three times as much as it should, and is put right by what then comes.
      hour(week, (HOURS + begun + 4) * HOUR, calm)
      hour(week, (HOURS + begun + 5) * HOUR, calm)
      expect(week.normal((2 * HOURS + begun + 4) * HOUR)?.connections).toBeCloseTo(calm)
    }
  })

  test('a site that has grown for good is followed within days, and one that begins at night is no flood by day', () => {
    const week = new Week()
    for (let i = 0; i < HOURS; i++) hour(week, i * HOUR, 100)
    for (let i = HOURS; i < 6 * HOURS; i++) hour(week, i * HOUR, 400)
    expect(week.normal(6 * HOURS * HOUR)?.connections).toBeGreaterThan(300)
    const byDay = new Week()
    const ofDay = (i: number): number => (i % 24 < 7 ? 10 : 400)
    for (let i = 0; i < 4 * 24; i++) hour(byDay, i * HOUR, ofDay(i))
    hour(byDay, 4 * 24 * HOUR, 10)
    expect(byDay.normal((HOURS + 3 * 24 + 12) * HOUR)?.connections).toBeCloseTo(400)
  })
})

function counting() {
  const metrics = createMetrics({ version: 'x', upstreams: [] })
  let at = 0
  const clock = { now: () => at, elapsed: () => at }
  const traffic = new Traffic({ metrics, clock, isOverloaded: () => false, secret: 7 })
  const pass = (seconds: number): void => {
    for (let i = 0; i < seconds; i++) {
      at += 1000
      traffic.tick()
    }
  }
  return { metrics, traffic, pass }
}

describe('the last hour', () => {
  test('names that are not ASCII are told as they were meant, and none is cut within a character', () => {
    const { traffic, pass } = counting()
    const long = `${'a'.repeat(254)}\u{1f4a9}.example`
    for (const helo of ['bücher.example', long, 'a\u009b\u202eb'])
      traffic.ended({ source: '192.0.2.1', net: '192.0.2.0/24' }, helo, false)
    traffic.recipient(Buffer.from('b@BÜCHER.example').toString('latin1'), 250)
    pass(10)
    const { helo, domain } = traffic.report().top
    expect(helo.map(({ key }) => key).sort()).toEqual(['a'.repeat(254), 'a\u009b\u202eb', 'bücher.example'].sort())
    expect(domain.map(({ key }) => key)).toEqual(['bücher.example'])
    const { body } = json(200, { helo })
    expect(body).toMatch(/^[\n -~ü]*$/)
    expect(JSON.parse(body as string)).toEqual({ helo })
  })

  test('has what was counted in each minute, and no more than an hour of it', () => {
    const { metrics, traffic, pass } = counting()
    for (let minute = 0; minute < 70; minute++) {
      metrics.connections.of('ipv4').value += minute
      metrics.sessions.of('shed', 'known').value += 1
      metrics.sessions.of('shed', 'new').value += 2
      metrics.sessions.of('relayed', 'trusted').value += 5
      metrics.messages.of('accepted', 'new').value += 7
      metrics.refusals.of('connect', 'ip_connections', 'drop', 'enforce').value += 3
      for (let i = 0; i < 4; i++) traffic.ended({ source: `192.0.2.${i}`, net: '192.0.2.0/24' }, 'a.example', i === 0)
      pass(60)
    }
    const { minutes, reasons, top, normal } = traffic.report()
    expect(minutes.connections).toEqual(Array.from({ length: 60 }, (_, i) => i + 10))
    for (const [name, each] of Object.entries({
      shed: 3,
      known_shed: 1,
      known: 5,
      messages: 7,
      deferred: 0,
      senders: 4,
    }))
      expect({ name, values: new Set(minutes[name as 'shed']) }).toEqual({ name, values: new Set([each]) })
    expect(reasons).toEqual([{ reason: 'ip_connections', mode: 'enforce', lastMinute: 3, lastHour: 180 }])
    expect(top.network).toMatchObject([{ key: '192.0.2.0/24', turnedAway: 0.25 }])
    expect(top.helo[0]?.key).toBe('a.example')
    expect(Math.round(top.network[0]?.perMinute ?? 0)).toBe(4)
    expect(normal).toBeUndefined()
  })

  test('begins with the first ten seconds', () => {
    const { metrics, traffic, pass } = counting()
    metrics.connections.of('ipv6').value += 5
    pass(10)
    expect(traffic.report().minutes.connections).toEqual([5])
  })

  test('while very many sessions end, one of several counts for all of them', () => {
    const { traffic, pass } = counting()
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 3000; i++)
        traffic.ended({ source: `s${i}`, net: i % 4 === 0 ? 'a' : `n${i}` }, undefined, true)
      pass(1)
    }
    const { top, minutes } = traffic.report()
    expect(top.network[0]).toMatchObject({ key: 'a', turnedAway: 1 })
    expect((top.network[0]?.perMinute ?? 0) / 45_000).toBeGreaterThan(0.9)
    expect((top.network[0]?.perMinute ?? 0) / 45_000).toBeLessThan(1.1)
    expect(minutes.senders.at(-1)).toBeGreaterThan(2700)
  })
})

test('of several workers the figures add up, and one that knows no normal yet is taken to be like the others', () => {
  const of = (connections: readonly number[], normal?: number): TrafficReport => {
    const { traffic } = counting()
    const report = traffic.report()
    return {
      ...report,
      minutes: { ...report.minutes, connections },
      ...(normal !== undefined && { normal: { basis: 'week', hours: 9, ...rates(normal) } }),
      top: { ...report.top, network: [{ key: 'n', perMinute: 10, turnedAway: connections.length / 10 }] },
      reasons: [{ reason: 'banned', mode: 'enforce', lastMinute: 1, lastHour: 2 }],
    }
  }
  expect(trafficTogether([])).toBeUndefined()
  expect(trafficTogether([of([1, 2, 3], 10), of([5], 20), of([])])).toMatchObject({
    minutes: { connections: [1, 2, 8] },
    normal: { basis: 'week', connections: 45 },
    top: { network: [{ key: 'n', perMinute: 30, turnedAway: 0.133 }] },
    reasons: [{ reason: 'banned', lastMinute: 3, lastHour: 6 }],
  })
})
