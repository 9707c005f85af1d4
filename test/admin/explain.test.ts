/** GET /api/v1/explain and `spillway explain`: what a running node says of an address, a network and an id. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { AddressExplained, Explanation, IdExplained, NetworkExplained } from '../../src/admin/explain.ts'
import { explainPage } from '../../src/admin/page/explain-page.ts'
import { type Request, readRequest } from '../../src/admin/request.ts'
import { createRouter } from '../../src/admin/routes.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { freePorts } from '../services/ports.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../support/app.ts'
import { NO_BANS, NO_ORDERS_GIVEN } from '../support/bans.ts'
import { run, SERVE_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let app: TestApp
let env: Record<string, string>

const explain = async <T extends Explanation>(q: string): Promise<T> =>
  JSON.parse((await app.get(`/api/v1/explain?q=${encodeURIComponent(q)}`)).body) as T
const address = (ip: string) => explain<AddressExplained>(ip)
/** What it hears first. */
const greeted = async (ip: string): Promise<string> => {
  const client = await app.clientAs(ip)
  const said = await client.reply()
  client.destroy()
  return said
}
const used = async (ip: string, limit = 'ip_connections'): Promise<unknown> =>
  (await address(ip)).limits.find((row) => row.limit === limit)

beforeAll(async () => {
  upstream = await startUpstream()
  const [port] = await freePorts(1)
  env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}` }
  app = await startApp(upstream.address, {
    ADMIN_LISTEN: `127.0.0.1:${port}`,
    PROXY_PROTOCOL_FROM: BALANCER,
    LIMIT_IP_CONNECTIONS: '2/1h',
    GREETING_DELAY: 'off',
    ALLOW: '198.51.100.0/24',
    DENY: '203.0.113.0/24',
  })
  await eventually(
    () => app.running.status().upstreams,
    ([one]) => one?.up === true,
  )
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

test('a stranger is let in, and asking counts nothing', async () => {
  for (let i = 0; i < 5; i++) await address('192.0.2.1')
  const told = await address('192.0.2.1')
  expect(Object.keys(told).slice(0, 4)).toEqual(['kind', 'verdict', 'differences', 'change'])
  expect(told.verdict).toMatch(
    /^192\.0\.2\.1 is new, because nothing is known .* It may connect, and Spillway would not turn/,
  )
  expect(told.change).toEqual([expect.stringContaining('It is seen after its first message')])
  expect(told.limits.find(({ limit }) => limit === 'ip_connections')).toMatchObject({ used: 0, max: 2 })
  // There is no Redis, and so no other node.
  expect(told).toMatchObject({
    differences: [],
    nodesAsked: { redis: 'none' },
    nodes: [{ here: true, answered: true }],
  })
  expect(told.nodesAsked?.note).toContain('SPILLWAY_REDIS_URL')
  expect(await greeted('192.0.2.1')).toMatch(/^220/)
})

test('over a limit it is told what it hears, how much it has used and until when', async () => {
  await greeted('192.0.2.2')
  await greeted('192.0.2.2')
  const told = await address('192.0.2.2')
  expect(told.now.connect).toMatchObject({ reason: 'ip_connections' })
  const reply = (await greeted('192.0.2.2')).replace(/ mx\.test\.example \[\S+\]/, '').replace(/ \(\w{13}\)$/, '')
  expect(told.now.connect.reply).toBe(reply)
  expect(told.verdict).toContain('It is turned away when it connects')
  const before = Date.now()
  const row = (await used('192.0.2.2')) as { used: number; resetsAt: string; windowSeconds: number }
  expect(row).toMatchObject({ used: 2, max: 2, windowSeconds: 3600 })
  // The hour may have changed since it was asked, or just before.
  expect(Date.parse(row.resetsAt)).toBeGreaterThan(before + 3_600_000)
  expect(Date.parse(row.resetsAt)).toBeLessThanOrEqual(Date.now() + 7_200_000)
  expect(told.change.join(' ')).toContain('The setting is SPILLWAY_LIMIT_IP_CONNECTIONS')
})

test('good mail, lists, bans and what is allowed each show, and what ends them', async () => {
  const client = await app.clientAs('192.0.2.3')
  await client.hello()
  expect(await client.send('a@b.example', 'c@d.example')).toMatch(/^250/)
  client.destroy()
  const seen = await eventually(
    () => address('192.0.2.3'),
    ({ standing }) => standing.is === 'seen',
  )
  expect(seen.standing).toMatchObject({ by: 'a_little_good_mail', own: { good: 1, recentGood: 1, recentBad: 0 } })

  expect(await address('198.51.100.7')).toMatchObject({
    standing: { is: 'trusted' },
    lists: { allow: true },
    limits: [],
  })
  const denied = await address('203.0.113.9')
  expect(denied).toMatchObject({ lists: { deny: true }, now: { connect: { reason: 'denied' } } })
  expect(denied.change[0]).toContain('SPILLWAY_DENY')

  const ban = app.running.bans.add({ network: '192.0.2.64/26', reason: 'harvest', forMs: 60_000 })
  expect(ban).not.toHaveProperty('mistake')
  const banned = await address('192.0.2.70')
  expect(banned).toMatchObject({
    standing: { is: 'banned', by: 'operators_ban' },
    ban: { network: '192.0.2.64/26', by: 'operator', reason: 'harvest' },
    now: { connect: { reason: 'banned' } },
  })
  expect(banned.change[0]).toContain('spillway bans remove 192.0.2.64/26')
  const network = await explain<NetworkExplained>('192.0.2.0/24')
  expect(network).toMatchObject({ kind: 'network', bans: [{ network: '192.0.2.64/26' }] })
  app.running.bans.allowed.add({ network: '192.0.2.70', reason: 'ours', forMs: 60_000 })
  expect(await address('192.0.2.70')).toMatchObject({ standing: { is: 'trusted' }, allowed: { reason: 'ours' } })
})

describe('what was turned away', () => {
  test('the id that a client heard leads to its session, and what it said is escaped and clipped', async () => {
    const client = await app.clientAs('192.0.2.4')
    await client.reply()
    expect(await client.command(`EHLO ${'x'.repeat(60)}.${'y'.repeat(60)}.${'z'.repeat(60)}.example`)).toMatch(/^250/)
    upstream.script = (verb) => (verb === 'RCPT' ? '550 5.1.1 no \u001b[2Jsuch user' : 'default')
    await client.command('MAIL FROM:<someone@b.example>')
    const said = await client.command('RCPT TO:<nobody@d.example>')
    upstream.script = undefined
    client.destroy()
    const [, id = ''] = /\((\w{13})\)$/.exec(said) ?? []
    const told = await eventually(
      () => explain<IdExplained>(id),
      ({ refused }) => refused.length > 0,
    )
    const [entry] = told.refused
    expect(told.address).toMatchObject({ address: '192.0.2.4' })
    expect(entry).toMatchObject({ id, ip: '192.0.2.4', from: '***@b.example' })
    expect(entry?.helo?.length).toBe(160)
    expect(entry?.refusedBy?.reply).not.toContain('\u001b')
    expect(await address('192.0.2.4')).toMatchObject({ refused: [{ id }] })
  })
})

test.each(['', 'x'.repeat(101), 'mail.example', 'ABC', '192.0.2.0/33', 'fe80::1%eth0'])('%j is 400', async (q) => {
  const { status, body } = await app.get(`/api/v1/explain?q=${encodeURIComponent(q)}`)
  expect(status).toBe(400)
  expect(body).toMatch(/^q: /)
  // As a page, an empty field is where one begins.
  const page = await app.get(`/explain?q=${encodeURIComponent(q)}`)
  expect(page.status).toBe(q === '' ? 200 : 400)
  expect(page.body.includes('role="alert"')).toBe(q !== '')
})

test('an IPv6 address is counted as its /64, which is told of as an address', async () => {
  expect(await address('2001:DB8:1:2::5')).toMatchObject({ address: '2001:db8:1:2::5', source: '2001:db8:1:2::/64' })
  expect(await explain('2001:db8:1:2::/64')).toMatchObject({ kind: 'address', address: '2001:db8:1:2::' })
})

test('the status page links to it', async () => {
  const { body } = await app.get('/')
  expect(body).toMatch(/href="\/explain\?q=192\.0\.2\.0%2F24"/)
})

describe('spillway explain', () => {
  test('it asks the node, in words and as JSON', async () => {
    const { code, output } = await run(['explain', '203.0.113.9'], { env })
    expect(code).toBe(0)
    expect(output).toMatch(/^203\.0\.113\.9 is new.*\nTo let it in, take it out of SPILLWAY_DENY/)
    expect(output).toContain('lists     deny')
    const json = await run(['explain', '203.0.113.9', '--json'], { env })
    expect(JSON.parse(json.output)).toMatchObject({ kind: 'address', lists: { deny: true } })
  })

  test('where the node cannot be asked, an id still tells something, and an address is an error', async () => {
    const away = { ...env, SPILLWAY_ADMIN_LISTEN: '127.0.0.1:1' }
    const id = await run(['explain', '1RV17D4600503'], { env: away })
    expect(id.code).toBe(0)
    expect(id.output).toMatch(
      /Turned away because the address connects more often [\s\S]* reason is ip_connections [\s\S]*The node was not asked: Nothing listens/,
    )
    expect(await run(['explain', '192.0.2.1'], { env: away })).toMatchObject({ code: 1 })
    expect(await run(['explain', '192.0.2.1'], { env: {} })).toMatchObject({ code: 78 })
    for (const wrong of ['what', 'mail.example', '192.0.2.0/33'])
      expect(await run(['explain', wrong], { env })).toMatchObject({ code: 64 })
  })
})

test('without a mail server it is told so, and of an observed check what it would do', async () => {
  const other = await startApp('127.0.0.1:1', { OBSERVE: 'denied', DENY: '203.0.113.0/24' })
  const told = JSON.parse((await other.get('/api/v1/explain?q=203.0.113.9')).body) as AddressExplained
  await other.stop()
  expect(told.now).toMatchObject({ connect: { observed: ['denied'] }, rcpt: { reason: 'upstream_down' } })
  expect(told.now.connect).not.toHaveProperty('reason')
  expect(told.verdict).toContain('If they were not only observed, these would turn it away: denied.')
})

test('what would be heard at RCPT: the share of the level, and the deny list where it is answered there', async () => {
  const settings = { OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s', DENY_STAGE: 'rcpt', DENY: '203.0.113.0/24' }
  const proxied = { GREETING_DELAY: '100ms', PROXY_PROTOCOL_FROM: BALANCER }
  const other = await startApp(upstream.address, { ...settings, ...proxied })
  const asked = async (ip: string) => JSON.parse((await other.get(`/api/v1/explain?q=${ip}`)).body) as AddressExplained
  await eventually(
    () => other.running.status().upstreams,
    ([one]) => one?.up === true,
  )
  const denied = await asked('203.0.113.9')
  expect(denied.now).toMatchObject({ overloadLevel: 3, connect: { observed: [] }, rcpt: { reason: 'denied' } })
  expect(denied.verdict).toContain('It may connect, and is turned away at RCPT')
  const stranger = await asked('192.0.2.1')
  expect(stranger.now.rcpt.share).toBeGreaterThan(0)
  expect(stranger.now.rcpt.share).toBeLessThanOrEqual(0.05)
  expect(stranger.verdict).toContain('at level 3 of overload about ')
  expect(stranger.change[0]).toContain('Level 3 ends when the pressure stays below 1')
  expect(stranger.greetingTest).toEqual({ passed: false, delayMs: 25 })
  const client = await other.clientAs('192.0.2.1')
  await client.reply()
  expect((await asked('192.0.2.1')).greetingTest).toEqual({ passed: true, delayMs: 0 })
  expect((await asked('192.0.2.1')).limits[0]).toMatchObject({ limit: 'ip_concurrency', used: 1 })
  await other.stop()
})

test('where nobody can say it, the page says why, and has the field all the same', async () => {
  const request = { query: new URLSearchParams('q=192.0.2.1'), isLed: false } as unknown as Request
  const { code, body } = await explainPage(request, () => Promise.reject(new Error('no worker answers at the moment')))
  expect(code).toBe(503)
  expect(body).toContain('That cannot be told at the moment: no worker answers at the moment.')
  expect(body).toContain('value="192.0.2.1"')
})

test.each<[string, string, number, Record<string, string>]>([
  ['192.0.2.1', 'GET', 401, {}],
  ['192.0.2.1', 'GET', 200, { Authorization: 'Bearer the-token' }],
  ['192.0.2.1', 'GET', 200, { Authorization: `Basic ${Buffer.from('me:the-token').toString('base64')}` }],
  ['127.0.0.1', 'GET', 200, {}],
  ['127.0.0.1', 'GET', 403, { 'Sec-Fetch-Site': 'cross-site' }],
  ['127.0.0.1', 'POST', 405, {}],
])('at %s %s is answered %d with %j', async (local, method, code, fields) => {
  const nothing = (): never => {
    throw new Error('not asked for')
  }
  const answer = createRouter({
    ...{ metrics: nothing, status: nothing, reload: nothing, token: () => 'the-token', names: () => [] },
    ...{ bans: NO_BANS, orders: NO_ORDERS_GIVEN, clock: SYSTEM_CLOCK, upstreams: () => [] },
    ...{ reported: nothing, feedback: nothing },
    explain: (q) => app.running.explaining.here(q),
  })
  const lines = Object.entries({ Host: 'localhost', ...fields }).map(([name, value]) => `${name}: ${value}`)
  for (const path of ['/api/v1/explain', '/explain']) {
    const request = readRequest([`${method} ${path}?q=192.0.2.9 HTTP/1.1`, ...lines].join('\r\n')) as Request
    expect((await answer({ ...request, body: Buffer.alloc(0) }, local)).code).toBe(code)
  }
})
