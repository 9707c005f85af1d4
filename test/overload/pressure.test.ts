/** What presses how hard, in plain numbers. */
import { describe, expect, test } from '@jest/globals'
import { latencyOf, pressureOf, type Sample } from '../../src/overload/pressure.ts'

const CALM: Sample = {
  pool: { slots: 100, wanted: [], servers: [] },
  reported: new Map(),
  connections: [],
  maxConnections: 1000,
  loopMs: 0,
  memory: 0,
  globalLimits: 0,
}
/** Each wants or has this many. */
const nets = (count: number, each: number): readonly number[] => Array.from({ length: count }, () => each)
const TARGETS = { latencyMs: 5000, loopMs: 50 }
const server = (upstream: string, dotMs: number | undefined, slots = 50) => ({ upstream, slots, dotMs })
const servers = (...all: ReturnType<typeof server>[]): Partial<Sample> => ({ pool: { ...CALM.pool, servers: all } })

describe('each signal over its target', () => {
  test.each([
    ['upstream_slots', { pool: { ...CALM.pool, wanted: nets(100, 1) } }, 1],
    ['upstream_slots', { pool: { ...CALM.pool, wanted: nets(25, 6) } }, 1.5],
    ['upstream_latency', servers(server('a', 5000)), 1],
    ['reported_queue', { ...servers(server('a', undefined)), reported: new Map([['a', 1.2]]) }, 1.2],
    ['connections', { connections: nets(70, 10) }, 1],
    ['event_loop', { loopMs: 75 }, 1.5],
    ['memory', { memory: 0.85 }, 1],
    ['global_limits', { globalLimits: 0.9 }, 1],
  ] as const)('%s', (signal, sample, expected) => {
    const pressure = pressureOf({ ...CALM, ...sample }, TARGETS)
    expect(pressure.signal).toBe(signal)
    expect(pressure.value).toBeCloseTo(expected, 9)
    for (const [name, value] of Object.entries(pressure.of)) if (name !== signal) expect(value).toBe(0)
  })

  test('the largest is the pressure of the node', () => {
    const pressure = pressureOf({ ...CALM, connections: nets(35, 10), loopMs: 40, memory: 0.1 }, TARGETS)
    expect(pressure).toMatchObject({ signal: 'event_loop', value: 0.8 })
  })

  test('no server in use is no pressure: clients hear 451 for that', () => {
    const pool = { slots: 0, wanted: nets(9, 1), servers: [] }
    expect(pressureOf({ ...CALM, pool }, TARGETS).value).toBe(0)
  })
})

describe('what one neighbourhood counts with', () => {
  test.each([
    [
      'all connections to the mail servers, and twice as many waited for',
      { pool: { ...CALM.pool, wanted: [300] } },
      0.06,
    ],
    ['half of the clients', { connections: [500] }, 62 / 700],
    ['sixteen of them together press as hard as a crowd does', { pool: { ...CALM.pool, wanted: nets(17, 300) } }, 1.02],
    ['one connection of few counts', { pool: { ...CALM.pool, slots: 5, wanted: [9] } }, 0.2],
  ])('%s', (_, sample, expected) => {
    expect(pressureOf({ ...CALM, ...sample }, TARGETS).value).toBeCloseTo(expected, 9)
  })
})

describe('latency', () => {
  test('one slow server of two or three raises nothing, and is named', () => {
    const two = servers(server('quick:25', 100), server('slow:25', 60_000))
    expect(pressureOf({ ...CALM, ...two }, TARGETS)).toMatchObject({
      value: 0.02,
      slowest: { upstream: 'slow:25', ms: 60_000 },
    })
    expect(latencyOf([server('a', 9000), server('b', 100), server('c', 200)])).toBe(200)
  })

  test('most of them slow is a slow cluster, and so is the only one', () => {
    expect(latencyOf([server('a', 9000), server('b', 100), server('c', 8000)])).toBe(8000)
    expect(latencyOf([server('a', 9000)])).toBe(9000)
  })

  test('servers count by their connections', () => {
    expect(latencyOf([server('small', 100, 10), server('large', 9000, 90)])).toBe(9000)
    expect(latencyOf([server('small', 9000, 10), server('large', 100, 90)])).toBe(100)
  })

  test('a server with too few samples counts as quick', () => {
    expect(latencyOf([server('a', undefined), server('b', 9000)])).toBe(0)
    expect(latencyOf([])).toBe(0)
    expect(pressureOf({ ...CALM, ...servers(server('a', undefined)) }, TARGETS).slowest).toBeUndefined()
  })
})

describe('what is reported', () => {
  const three = servers(server('a', undefined), server('b', undefined), server('c', undefined))
  const pressure = (...reported: [string, number][]) =>
    pressureOf({ ...CALM, ...three, reported: new Map(reported) }, TARGETS)

  test('one full queue of three raises nothing, and is named; two of three do', () => {
    expect(pressure(['a', 9])).toMatchObject({ value: 0, fullest: { upstream: 'a', value: 9 } })
    expect(pressure(['a', 9], ['b', 0.5], ['c', 0.2])).toMatchObject({ value: 0.5, signal: 'reported_queue' })
    expect(pressure(['a', 9], ['c', 2])).toMatchObject({ value: 2, fullest: { upstream: 'a', value: 9 } })
  })

  test('a server that is not in use presses nobody', () => {
    expect(pressure(['gone', 9])).toMatchObject({ value: 0, fullest: undefined })
  })
})
