/** Sessions of strangers are shorter under overload: each keeps to the rules of its beginning. */
import { afterEach, expect, test } from '@jest/globals'
import { buildPolicy } from '../../../src/build/policy.ts'
import { readingOf } from '../../../src/config/reload.ts'
import type { Client } from '../../../src/core/client.ts'
import { NO_LATEST } from '../../../src/state/latest-mail.ts'
import { NO_PAST } from '../../../src/state/past.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { testSettings } from '../../support/app.ts'
import { startFront } from '../../support/front.ts'
import { NO_OVERLOAD } from '../../support/overload.ts'
import { startUpstream } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

test('the policy asks the level how long a client may be silent, and has one set of rules where that is as usual', () => {
  const reading = readingOf({ settings: testSettings('127.0.0.1:1', { IDLE_TIMEOUT: '200s' }), warnings: [] })
  const asked: unknown[] = []
  const policy = buildPolicy({
    ...reading,
    certificates: undefined,
    limits: { lately: () => undefined },
    history: { own: () => NO_PAST, net: () => NO_PAST, domains: undefined as never },
    latest: { of: () => NO_LATEST },
    bans: { of: () => undefined, isAllowed: () => false },
    dnsLists: { scoreOf: () => ({ score: 0, zones: [] }) },
    overload: {
      ...NO_OVERLOAD,
      idleMs: ({ standing }, usual) => {
        asked.push([standing, usual])
        return standing === 'new' ? 15_000 : usual
      },
    },
    offeredSize: () => 0,
    metrics: createMetrics({ version: '0', upstreams: [] }),
    log: {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: () => undefined,
      flush: () => undefined,
    },
  })
  const rulesFor = (standing: Client['standing']) => policy.rulesFor({ standing } as Client)
  expect(rulesFor('known')).toBe(policy.rules)
  expect(rulesFor('new')).toEqual({ ...policy.rules, idleMs: 15_000 })
  expect(asked).toEqual([
    ['known', 200_000],
    ['new', 200_000],
  ])
})

test('clients side by side have the time of their own rules', async () => {
  const upstream = await startUpstream()
  ends.push(() => upstream.stop())
  const node = await startFront(upstream.address, {}, {}, (right) => ({
    ...right,
    policy: {
      ...right.policy,
      rulesFor: ({ ip }) => ({ ...right.policy.rules, idleMs: ip === '127.0.0.5' ? 200 : 60_000 }),
    },
  }))
  ends.push(() => node.stop())
  const patient = await node.client('127.0.0.6')
  await patient.hello()
  for (let i = 0; i < 2; i++) {
    const hurried = await node.client('127.0.0.5')
    await hurried.hello()
    expect(await hurried.reply()).toMatch(/^421 4\.4\.2/)
    await hurried.closed()
  }
  expect(await patient.command('NOOP')).toMatch(/^250/)
})
