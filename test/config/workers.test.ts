/** How the limits of a node are divided among its workers. */
import { describe, expect, test } from '@jest/globals'
import { load } from '../../src/config/load.ts'
import { shareOf, workersOf } from '../../src/config/workers.ts'
import { loadWith, machine, mistakesOf, REQUIRED } from './given.ts'

const sharesOf = (env: Record<string, string>, of: number) => {
  const { settings } = loadWith(env)
  return Array.from({ length: of }, (_, index) => shareOf(settings, { index, of }))
}
const sum = (values: readonly (number | undefined)[]): number =>
  values.reduce<number>((all, value) => all + (value ?? 0), 0)

describe('shares', () => {
  test('each worker has a history file of its own', () => {
    const files = (env: Record<string, string>) => sharesOf(env, 2).map(({ historyFile }) => historyFile)
    expect(files({ SPILLWAY_HISTORY_FILE: '/var/lib/spillway/history' })).toEqual([
      '/var/lib/spillway/history.1',
      '/var/lib/spillway/history.2',
    ])
    expect(files({})).toEqual([undefined, undefined])
  })

  test.each([2, 3, 7])('of %i workers add up to what the operator set, and differ by one at most', (of) => {
    const shares = sharesOf({ SPILLWAY_MAX_CONNECTIONS: '1000', SPILLWAY_LIMIT_GLOBAL_MESSAGES: '500/1m' }, of)
    for (const [whole, parts] of [
      [1000, shares.map((each) => each.maxConnections)],
      [50, shares.map((each) => each.upstreamMaxConnections.ceiling)],
      [100, shares.map((each) => each.limitIpConcurrency)],
      [600, shares.map((each) => each.limitIpConnections?.max)],
      [500, shares.map((each) => each.limitGlobalMessages?.max)],
    ] as const) {
      expect(sum(parts)).toBe(whole)
      const numbers = parts.map((part) => part ?? 0)
      expect(Math.max(...numbers) - Math.min(...numbers)).toBeLessThanOrEqual(1)
    }
    expect(shares.map((each) => each.limitIpConnections?.windowMs)).toEqual(Array(of).fill(60_000))
  })

  test('what is off stays off, and with Redis the limits over time are whole', () => {
    const [share] = sharesOf({ SPILLWAY_LIMIT_IP_CONCURRENCY: 'off', SPILLWAY_REDIS_URL: 'redis://127.0.0.1' }, 2)
    expect(share?.limitIpConcurrency).toBeUndefined()
    expect(share?.limitGlobalMessages).toBeUndefined()
    expect(share?.limitIpConnections?.max).toBe(600)
    expect(share?.upstreamMaxConnections).toEqual({ floor: 25, ceiling: 25 })
  })

  test('bounds are divided as well, and workers that would have none of the smaller one are a mistake', () => {
    const shares = sharesOf({ SPILLWAY_UPSTREAM_MAX_CONNECTIONS: 'auto:5-100' }, 2)
    expect(shares.map((each) => each.upstreamMaxConnections)).toEqual([
      { floor: 3, ceiling: 50 },
      { floor: 2, ceiling: 50 },
    ])
    const env = { SPILLWAY_UPSTREAM_MAX_CONNECTIONS: 'auto:3-100', SPILLWAY_WORKERS: '4' }
    const told = mistakesOf(env).map(({ name, expected }) => `${name}: ${expected}`)
    expect(told).toEqual([expect.stringMatching(/^SPILLWAY_WORKERS: at most 3, because SPILLWAY_UPSTREAM_MAX_CON/)])
  })

  test('auto is one for each core', () => {
    expect(workersOf(loadWith({ SPILLWAY_WORKERS: 'auto' }).settings, 6)).toBe(6)
    expect(workersOf(loadWith({ SPILLWAY_WORKERS: '3' }).settings, 6)).toBe(3)
  })

  test('auto is no more than the limits can be divided among, and says so', () => {
    const { settings, warnings } = load({ ...machine({ ...REQUIRED, SPILLWAY_WORKERS: 'auto' }), cores: 96 })
    // SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS is 20/10m.
    expect(workersOf(settings, 96)).toBe(20)
    expect(warnings.join()).toContain(
      'SPILLWAY_WORKERS=auto is 20 on this machine of 96 cores, because SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS is divided',
    )
    const shared = load({
      ...machine({ ...REQUIRED, SPILLWAY_WORKERS: 'auto', SPILLWAY_REDIS_URL: 'redis://127.0.0.1' }),
      cores: 96,
    })
    expect(workersOf(shared.settings, 96)).toBe(50)
  })
})

describe('rules', () => {
  test('more workers than a limit can be divided among are a mistake that names the limit', () => {
    const env = { SPILLWAY_WORKERS: '8', SPILLWAY_UPSTREAM_MAX_CONNECTIONS: '5', SPILLWAY_LIMIT_IP_MESSAGES: '3/1m' }
    const told = mistakesOf(env).map(({ name, expected }) => `${name}: ${expected}`)
    expect(told).toEqual([
      expect.stringMatching(/^SPILLWAY_WORKERS: at most 5, because SPILLWAY_UPSTREAM_MAX_CONNECTIONS is divided/),
      expect.stringMatching(/^SPILLWAY_WORKERS: at most 3, because SPILLWAY_LIMIT_IP_MESSAGES is divided/),
    ])
    expect(mistakesOf({ ...env, SPILLWAY_REDIS_URL: 'redis://127.0.0.1' })).toHaveLength(1)
  })

  test('without Redis there is a warning, and with it or with one worker there is none', () => {
    const warned = (env: Record<string, string>): boolean =>
      loadWith(env).warnings.some((text) => text.startsWith('SPILLWAY_WORKERS'))
    expect(warned({ SPILLWAY_WORKERS: '2' })).toBe(true)
    expect(warned({ SPILLWAY_WORKERS: '2', SPILLWAY_REDIS_URL: 'redis://127.0.0.1' })).toBe(false)
    expect(warned({})).toBe(false)
    expect(warned({ SPILLWAY_WORKERS: 'auto' })).toBe(false)
  })

  test('open files are those of each worker', () => {
    const on = (cores: number) => () =>
      load({
        ...machine({ ...REQUIRED, SPILLWAY_WORKERS: 'auto', SPILLWAY_MAX_CONNECTIONS: '100000' }),
        cores,
      }).settings.maxConnections
    expect(on(4)()).toBe(100_000)
    expect(on(1)).toThrow('at most 65280')
  })
})
