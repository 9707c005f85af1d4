/** Whose connections the kernel may drop, by the policy in force. */
import { expect, test } from '@jest/globals'
import { buildPolicy, type PolicySources } from '../../src/build/policy.ts'
import { load } from '../../src/config/load.ts'
import { readingWith } from '../../src/config/reload.ts'
import type { Ban } from '../../src/core/bans.ts'
import { parseNetwork } from '../../src/core/ip.ts'
import { NetworkMap } from '../../src/core/network-map.ts'
import { LatestMail } from '../../src/state/latest-mail.ts'
import { NO_PAST } from '../../src/state/past.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { testSources } from '../support/app.ts'

const KNOWN = '198.51.100.7'
const known = { ...NO_PAST, good: 1000, recentGood: 100, first: 0, lastGood: 24 * 365 }
const bans = new NetworkMap<Pick<Ban, 'by' | 'until'>>()
bans.set(parseNetwork('198.51.100.0/24'), { by: 'automatic', until: 1000 })
bans.set(parseNetwork('192.0.2.0/24'), { by: 'operator', until: 2000 })
bans.set(parseNetwork('2001:db8:1::/48'), { by: 'operator', until: 2000 })

const policy = (settings: Record<string, string> = {}) =>
  buildPolicy({
    ...readingWith(
      load(
        testSources('127.0.0.1:1', {
          DENY: '203.0.113.0/24,127.0.0.0/8,2001:db8:2::/48,2001:db8:3::1',
          ALLOW: '203.0.113.7,2001:db8:2:7::9',
          RELAYS: '203.0.113.8',
          PROXY_PROTOCOL_FROM: '192.0.2.99,2001:db8:1:9::1',
          ...settings,
        }),
      ),
      () => '',
    ),
    history: { own: (ip: string) => (ip === KNOWN ? known : NO_PAST), net: () => NO_PAST },
    latest: new LatestMail({ now: Date.now }),
    bans: { of: (ip: string) => bans.find(ip, () => true), isAllowed: (ip: string) => ip === '198.51.100.77' },
    metrics: createMetrics({ version: '', upstreams: [] }),
  } as unknown as PolicySources)

test.each([
  ['an address in a network that is banned by itself', '198.51.100.1', { reason: 'banned', until: 1000 }],
  ['a known client in it', KNOWN, undefined],
  ['one in it that the operator allows at run time', '198.51.100.77', undefined],
  ['an address in a network that the operator bans', '192.0.2.1', { reason: 'banned', until: 2000 }],
  ['a balancer in it', '192.0.2.99', undefined],
  ['a /64 of a banned network', '2001:db8:1:2::/64', { reason: 'banned', until: 2000 }],
  ['a /64 with a balancer in it', '2001:db8:1:9::/64', undefined],
  ['an address in a denied network', '203.0.113.1', { reason: 'denied', until: Number.POSITIVE_INFINITY }],
  ['an allowed one in it', '203.0.113.7', undefined],
  ['a relay in it', '203.0.113.8', undefined],
  ['a /64 of a denied network', '2001:db8:2:1::/64', { reason: 'denied', until: Number.POSITIVE_INFINITY }],
  ['a /64 with an allowed address in it', '2001:db8:2:7::/64', undefined],
  ['a /64 that is denied in part', '2001:db8:3:0::/64', undefined],
  ['loopback', '127.0.0.5', undefined],
  ['anybody else', '198.18.0.1', undefined],
])('%s', (_, source, sentence) => {
  expect(policy().sentenceOf(source)).toEqual(sentence)
})

test('nobody is dropped for what is only observed', () => {
  expect(policy({ OBSERVE: 'banned' }).sentenceOf('192.0.2.1')).toBeUndefined()
  expect(policy({ OBSERVE: 'denied' }).sentenceOf('203.0.113.1')).toBeUndefined()
  expect(policy({ OBSERVE: 'all' }).sentenceOf('203.0.113.1')).toBeUndefined()
})
