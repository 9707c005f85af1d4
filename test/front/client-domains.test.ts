/**
 * The domains of clients, by a real DNS server: what a name lends to an address that was never seen, what it costs, and who is
 * never asked about.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { History } from '../../src/state/history.ts'
import { HistoryFile } from '../../src/state/history-file.ts'
import { startUnbound, type Unbound } from '../services/unbound.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'

const DAY = 86_400_000
const started = stoppedAfterEach()
const folder = mkdtempSync(join(tmpdir(), 'spillway-domains-'))
const path = join(folder, 'history')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const reverse = (last: number): string => `${last}.100.51.198.in-addr.arpa.`
const ip = (last: number): string => `198.51.100.${last}`
const named = (last: number, name: string): string[] => [`${reverse(last)} PTR ${name}.`, `${name}. A ${ip(last)}`]

let dns: Unbound
beforeAll(async () => {
  dns = await startUnbound({
    records: [
      ...Array.from({ length: 9 }, (_, i) => named(i + 1, `out${i + 1}.provider.example`)).flat(),
      ...named(20, 'dsl20.provider.example'),
      // Anybody may let his address point to a name that is not his.
      `${reverse(21)} PTR out1.provider.example.`,
      `${reverse(22)} PTR mail.silent.example.`,
      'mail.silent.example. A 198.51.100.22',
    ],
    zones: { 'silent.example': 'always_deny' },
  })
})
afterAll(() => dns.stop())

/** Its addresses have sent good mail for two weeks, from ten networks. */
beforeEach(async () => {
  const now = Date.now()
  const history = new History({
    standingAlone: () => 'seen',
    ...{ ttlMs: () => 100 * DAY, now: () => now, seed: new Uint8Array(8), capacity: 1 << 12 },
  })
  for (let day = 14; day > 0; day--) {
    for (let net = 0; net < 10; net++) {
      history.domains.learn('provider.example', `203.0.${net}.1`, { good: 1, bad: 0 }, now - day * DAY)
    }
  }
  const silent = (): void => undefined
  const log = { debug: silent, info: silent, warn: silent, error: silent, flush: silent }
  await new HistoryFile({ path, history, log, now: () => now }).save()
})

const settingsWith = (more: Record<string, string>): Record<string, string> => ({
  ...{ PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', HISTORY_FILE: path, HISTORY_DOMAINS: 'on' },
  ...{ DNS_SERVERS: dns.address, OVERLOAD_EVENT_LOOP: '10s', ...more },
})
async function begin(settings: Record<string, string> = {}): Promise<TestApp> {
  const upstream = await started.upstream()
  return started.app(upstream.address, settingsWith(settings))
}
const lineOf = (app: TestApp, from: string, nth = 1) =>
  eventually(
    () => app.log().filter((line) => line.msg === 'session' && line.ip === from)[nth - 1],
    (line) => line !== undefined,
  )
/** The DNS has said all there is to say. */
const answered = (app: TestApp, count: number) =>
  eventually(
    async () => {
      const of = (result: string) => app.metric(`spillway_dns_queries_total{use="name",result="${result}"}`)
      return Number(await of('answered')) + Number(await of('absent'))
    },
    (so) => so >= count,
  )
async function open(app: TestApp, from: string): Promise<Client> {
  const client = await app.clientAs(from)
  await client.hello()
  return client
}
const deliver = (client: Client) => client.send('a@example.org', 'b@example.net')

describe('an address that was never seen', () => {
  test('is no stranger from its first recipient on, if its domain has sent good mail; and its address is known from then on', async () => {
    const app = await begin()
    const client = await open(app, ip(1))
    await answered(app, 2)
    expect(await deliver(client)).toMatch(/^250/)
    await client.command('QUIT')
    expect(await lineOf(app, ip(1))).toMatchObject({ standing: 'seen', domain: 'provider.example' })
    expect(await app.metric('spillway_standings_raised_total')).toBe(1)
    expect(await app.metric('spillway_messages_total{result="accepted",standing="seen"}')).toBe(1)
  })

  test('is let in where strangers are turned away at the banner, once its name is known; and whoever is refused costs no question', async () => {
    const app = await begin()
    const first = await open(app, ip(2))
    await answered(app, 2)
    await first.command('QUIT')
    await lineOf(app, ip(2))
    expect(await app.reload(settingsWith({ OVERLOAD: '4' }))).toMatchObject({ result: 'ok' })
    const before = dns.asked()
    const stranger = await app.clientAs(ip(3))
    expect(await stranger.reply()).toMatch(/^421/)
    expect(await lineOf(app, ip(3))).toMatchObject({ standing: 'new', reason: 'overload' })
    const again = await app.clientAs(ip(2))
    expect(await again.reply()).toMatch(/^220/)
    expect(dns.asked()).toBe(before)
  })

  test.each([
    ['a name that its network has given it', 20, 2],
    ['a name that points elsewhere', 21, 2],
    ['no name', 30, 1],
  ])('with %s is what it was', async (_, last, questions) => {
    const app = await begin()
    const client = await open(app, ip(last))
    await answered(app, questions)
    expect(await deliver(client)).toMatch(/^250/)
    await client.command('QUIT')
    const line = await lineOf(app, ip(last))
    expect(line).toMatchObject({ standing: 'new' })
    expect(line).not.toHaveProperty('domain')
    expect(await app.metric('spillway_standings_raised_total')).toBe(0)
  })

  test('waits for no DNS server that is silent', async () => {
    const app = await begin()
    const begun = performance.now()
    const client = await open(app, ip(22))
    expect(await deliver(client)).toMatch(/^250/)
    expect(performance.now() - begun).toBeLessThan(1500)
    await client.command('QUIT')
    expect(await lineOf(app, ip(22))).toMatchObject({ standing: 'new', outcome: 'relayed' })
  })
})

describe('nothing is asked about', () => {
  test.each([
    ['an address on the allow list', { ALLOW: ip(4) }],
    ['a relay', { RELAYS: ip(4) }],
    ['an address on the deny list', { DENY: ip(4) }],
    ['anybody, where it is switched off', { HISTORY_DOMAINS: 'off' }],
  ] as [string, Record<string, string>][])('%s', async (_, settings) => {
    const app = await begin(settings)
    const before = dns.asked()
    const client = await app.clientAs(ip(4))
    if (/^220/.test(await client.reply())) {
      await client.command('EHLO a.example')
      await deliver(client)
      await client.command('QUIT')
    }
    await lineOf(app, ip(4))
    expect(dns.asked()).toBe(before)
  })
})

test('a domain learns of each address once a day, and asks once for it', async () => {
  const app = await begin()
  const before = dns.asked()
  for (let i = 0; i < 3; i++) {
    const client = await open(app, ip(5))
    expect(await deliver(client)).toMatch(/^250/)
    await client.command('QUIT')
    await lineOf(app, ip(5), i + 1)
  }
  await answered(app, 2)
  expect(dns.asked()).toBe(before + 2)
  await app.stop()
  expect(readFileSync(path, 'latin1')).toMatch(/^d[0-9a-f]{16} 141 /m)
})
