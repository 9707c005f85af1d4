/** What K does to the limits, and what the contenders have of them. */
import { describe, expect, test } from '@jest/globals'
import { blind, connections, divided, STRANGERS_MESSAGES } from '../../bench/flood/settings.ts'
import { load } from '../../src/config/load.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { testSources } from '../support/app.ts'

const rates = (settings: Readonly<Record<string, string>>) => {
  const loaded = load(testSources('127.0.0.1:1', settings))
  if (loaded instanceof SettingsError) throw loaded
  return loaded.settings
}

describe('K', () => {
  test('with K = 1 all is as shipped', () => expect(divided(1)).toEqual({}))
  test.each([2, 7, 8, 60, 120, 1000])(
    'with K = %d a limit means the same rate, forgets sooner, and is whole seconds',
    (k) => {
      const [shipped, under] = [rates({}), rates(divided(k))]
      expect(Object.keys(divided(k)).length).toBeGreaterThan(0)
      for (const name of [
        'limitIpConnections',
        'limitNetConnections',
        'limitIpMessages',
        'limitIpRecipients',
      ] as const) {
        const [before, after] = [shipped[name], under[name]]
        if (before === undefined || after === undefined) throw new Error(`${name} is off`)
        expect(after.max / after.windowMs).toBeCloseTo(before.max / before.windowMs, 9)
        expect(before.windowMs / after.windowMs).toBeLessThanOrEqual(k)
        expect(after.windowMs % 1000).toBe(0)
        // A tenth of it is what strangers keep under pressure: one visit brings as much.
        expect(after.max).toBeGreaterThanOrEqual(200)
      }
    },
  )
  test.each([
    [2, 30_000],
    [60, 1000],
    [1000, 1000],
  ])('with K = %d what was put off may come back after %d ms', (k, ms) => {
    expect(rates(divided(k)).overloadReturnAfter).toBe(ms)
  })
  test('a limit that is small stays as it is', () => {
    expect(divided(60)).not.toHaveProperty('LIMIT_IP_UNKNOWN_RECIPIENTS')
    expect(divided(60)).toMatchObject({ LIMIT_NET_CONNECTIONS: '200/2s', LIMIT_IP_MESSAGES: '200/10s' })
  })
})

test('blind shedding has one limit, at what the cluster can take, and nothing else', () => {
  const settings = rates(blind(8.34))
  const { limitGlobalMessages, ...others } = settings
  expect(limitGlobalMessages).toEqual({ max: 8, windowMs: 1000 })
  const limits = Object.entries(others).filter(([name]) => /^limit(Ip|Net|Global)/.test(name))
  expect(limits.length).toBeGreaterThan(5)
  for (const [name, value] of limits) expect({ [name]: value }).toEqual({ [name]: undefined })
  expect(blind(8.34)).toMatchObject({ OVERLOAD: 'off', UNKNOWN_GUARD: 'off' })
  expect(settings.unknownGuard).toBe(false)
})

test('a sender that turned bad is held to what an address that is not known may send under pressure', () => {
  const { limitIpMessages, limitStressFactor } = rates({})
  const { max, windowMs } = limitIpMessages as { max: number; windowMs: number }
  expect(STRANGERS_MESSAGES).toBe((max / (windowMs / 1000)) * limitStressFactor)
})

test('all nodes together have half of the places of the cluster', () => {
  expect(connections(100, 1)).toBe('50')
  expect(connections(100, 2)).toBe('25')
  expect(connections(10, 4)).toBe('2')
})
