/** The overload level in a running node: what clients hear, what is charged, and what the operator sees. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from '@jest/globals'
import type { Status } from '../../src/admin/status.ts'
import { AS_OPERATOR, eventually, startApp, type TestApp, WITH_TOKEN } from '../support/app.ts'
import { type Script, startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function begin(settings: Record<string, string>, script?: Script): Promise<TestApp> {
  const upstream = await startUpstream(script === undefined ? {} : { script })
  ends.push(() => upstream.stop())
  const app = await startApp(upstream.address, { LOG_SAMPLE: '1', ...settings })
  ends.push(() => app.stop())
  return app
}
/** The reply to the first recipient, or to the banner. */
async function tries(app: TestApp, { from = '127.0.0.1', to = 'b@example.net' } = {}): Promise<string> {
  const client = await app.client(from)
  const banner = await client.reply()
  if (!banner.startsWith('220')) return banner
  await client.command('EHLO client.example')
  await client.command('MAIL FROM:<a@example.org>')
  const reply = await client.command(`RCPT TO:<${to}>`)
  await client.command('QUIT')
  await client.closed()
  return reply
}
const row = (stage: string, action: string, mode = 'enforce'): string =>
  `spillway_refusals_total{stage="${stage}",reason="overload",action="${action}",mode="${mode}"}`
const overload = (app: TestApp) => app.running.status().overload as NonNullable<Status['overload']>

const AT_RCPT =
  /^451 4\.3\.2 mx\.test\.example \[127\.0\.0\.1\] Busy; please try again in a few minutes \([0-9A-Z]{13}\)$/
const AT_BANNER =
  /^421 4\.3\.2 mx\.test\.example \[127\.0\.0\.1\] Busy; please try again in a few minutes \([0-9A-Z]{13}\)$/

describe('a flood of strangers that ask in vain, with the settings as they are shipped', () => {
  const unknown: Script = (verb, line) =>
    verb === 'RCPT' && line.includes(':<x') ? '550 5.1.1 No such user' : 'default'
  let names = 0
  const guess = (app: TestApp, from: string): Promise<string> => tries(app, { from, to: `x${names++}@example.net` })

  test('is put off at RCPT, while mail for whoever is there, for postmaster and of known senders goes on; it comes in when it comes back', async () => {
    const app = await begin(
      { OVERLOAD: 'auto', OVERLOAD_EVENT_LOOP: '10s', OVERLOAD_RETURN_AFTER: '1s', ALLOW: '127.0.0.2' },
      unknown,
    )
    expect(await tries(app, { from: '127.9.1.1', to: 'u1@example.net' })).toMatch(/^250/)
    let net = 0
    const many = (): Promise<string[]> =>
      Promise.all(Array.from({ length: 100 }, () => guess(app, `127.${20 + (net >> 8)}.${net++ & 255}.1`)))
    await eventually(many, (replies) => replies.filter((reply) => /^451 4\.3\.2 .*Busy/.test(reply)).length > 80)
    expect(overload(app).level).toBe(0)
    expect(await app.metric('spillway_guess_admission_ratio')).toBeLessThan(0.5)
    const line = await app.waitForLog(({ reason }) => reason === 'overload')
    expect(line).toMatchObject({ stage: 'rcpt', code: 451, overloadLevel: 0, guess: 'yes', came: 'first' })
    expect(await tries(app, { from: '127.9.2.1', to: 'u1@example.net' })).toMatch(/^250/)
    expect(await tries(app, { from: '127.9.3.1', to: 'postmaster@example.net' })).toMatch(/^250/)
    expect(await guess(app, '127.0.0.2')).toMatch(/^550 5\.1\.1/)
    // Beyond the budget for it, mail for postmaster is rationed as well.
    const roles = Array.from({ length: 40 }, (_, i) => ({ from: '127.9.5.1', to: `postmaster@${i}.example.net` }))
    const replies: string[] = []
    for (const each of roles) replies.push(await tries(app, each))
    expect(replies[0]).toMatch(/^250/)
    expect(replies.filter((reply) => reply.startsWith('451')).length).toBeGreaterThan(0)
    const first = { from: '127.9.4.1', to: 'u2@example.net' }
    expect(await tries(app, first)).toMatch(/^451/)
    const again = async (): Promise<string> => {
      await many()
      return tries(app, first)
    }
    await eventually(again, (reply) => reply.startsWith('250'))
  })
})

describe('level 3', () => {
  // The share follows the pressure, and the event loop is that of the test, too.
  const AT_3 = { OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s' }

  test('a stranger hears 451 at RCPT, and its message is charged to no limit', async () => {
    const limits = { LIMIT_IP_MESSAGES: '1/1h', LIMIT_STRESS_FACTOR: '1', LIMIT_GLOBAL_MESSAGES: '1/1h' }
    const app = await begin({ ...limits, ...AT_3 })
    for (let i = 0; i < 5; i++) expect(await tries(app)).toMatch(AT_RCPT)
    expect(await app.metric(row('rcpt', 'defer'))).toBe(5)
    const line = await app.waitForLog(({ reason }) => reason === 'overload')
    expect(line).toMatchObject({ stage: 'rcpt', code: 451, overloadLevel: 3, share: 0.05, outcome: 'shed' })
    await app.reload({ ...limits, OVERLOAD: 'off' })
    expect(await tries(app)).toMatch(/^250/)
    expect(await tries(app)).toMatch(/^450 4\.7\.28/)
  })

  test('all recipients of a message have one answer; postmaster and trusted clients are let in', async () => {
    const app = await begin({ ...AT_3, ALLOW: '127.0.0.2' })
    const client = await app.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<postmaster@example.net>')).toMatch(/^250/)
    for (let i = 0; i < 40; i++) expect(await client.command(`RCPT TO:<u${i}@example.net>`)).toMatch(/^451 4\.3\.2/)
    expect(await client.command('RCPT TO:<abuse@example.net>')).toMatch(/^250/)
    expect(await tries(app, { from: '127.0.0.2' })).toMatch(/^250/)
    // Forty recipients were one message: of twenty messages one is let in.
    const replies: string[] = []
    for (let i = 0; i < 20; i++) replies.push(await tries(app, { from: `127.0.${i + 1}.1` }))
    expect(replies.filter((reply) => reply.startsWith('250'))).toHaveLength(1)
  })
})

test('a message that was let in stays in, whatever the level becomes, and its next one is asked about anew', async () => {
  // At level 2 the share would be that of this machine's pressure.
  const app = await begin({ OVERLOAD: '1' })
  const client = await app.client()
  await client.hello()
  await client.command('MAIL FROM:<a@example.org>')
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
  await app.reload({ OVERLOAD: '3' })
  expect(await client.command('RCPT TO:<c@example.net>')).toMatch(/^250/)
  // Some are let in at once, as nobody has come at this level so far.
  const next = async (): Promise<string> => {
    await client.command('RSET')
    await client.command('MAIL FROM:<a@example.org>')
    return client.command('RCPT TO:<b@example.net>')
  }
  await eventually(next, (reply) => /^451 4\.3\.2/.test(reply))
})

describe('level 4', () => {
  test('a stranger hears 421 at the banner, and is charged to no limit; a trusted client is let in', async () => {
    const limits = { LIMIT_IP_CONNECTIONS: '1/1h', LIMIT_STRESS_FACTOR: '1', ALLOW: '127.0.0.2' }
    const app = await begin({ ...limits, OVERLOAD: '4' })
    for (let i = 0; i < 5; i++) expect(await tries(app)).toMatch(AT_BANNER)
    expect(await tries(app, { from: '127.0.0.2' })).toMatch(/^250/)
    expect(await app.metric(row('connect', 'drop'))).toBe(5)
    expect(await app.waitForLog(({ reason }) => reason === 'overload')).toMatchObject({
      ...{ stage: 'connect', code: 421, overloadLevel: 4, standing: 'new' },
    })
    await app.reload({ ...limits, OVERLOAD: '0' })
    expect(await tries(app)).toMatch(/^250/)
    expect(await tries(app)).toMatch(/^421 4\.7\.28/)
  })

  test('observed, it lets everybody pass and counts; no limit shrinks', async () => {
    const app = await begin({ OVERLOAD: '4', OBSERVE: 'overload', LIMIT_IP_MESSAGES: '3/1h' })
    for (let i = 0; i < 3; i++) expect(await tries(app)).toMatch(/^250/)
    expect(await tries(app)).toMatch(/^450 4\.7\.28/)
    expect(await app.metric(row('connect', 'drop', 'observe'))).toBe(4)
    expect(await app.metric(row('rcpt', 'defer', 'observe'))).toBe(4)
    expect(await app.waitForLog(({ observe }) => observe !== undefined)).toMatchObject({ observe: ['overload'] })
  })
})

describe('level 1', () => {
  test('limits per client shrink to LIMIT_STRESS_FACTOR, those of everybody do not, and a reload ends it', async () => {
    const limits = { LIMIT_IP_MESSAGES: '20/1h', LIMIT_GLOBAL_MESSAGES: '20/1h', LIMIT_IP_CONCURRENCY: '30' }
    const app = await begin({ ...limits, OVERLOAD: '1' })
    for (let i = 0; i < 2; i++) expect(await tries(app)).toMatch(/^250/)
    expect(await tries(app)).toMatch(/^450 4\.7\.28/)
    for (let i = 0; i < 8; i++) expect(await tries(app, { from: `127.0.1.${i}` })).toMatch(/^250/)
    for (let i = 0; i < 3; i++) expect(await (await app.client('127.0.0.9')).reply()).toMatch(/^220/)
    expect(await (await app.client('127.0.0.9')).reply()).toMatch(/^421 4\.7\.0/)
    await app.reload({ ...limits, OVERLOAD: '1', LIMIT_STRESS_FACTOR: '0.2' })
    expect(await tries(app)).toMatch(/^250/)
    await app.reload({ ...limits, OVERLOAD: 'off' })
    expect(await tries(app)).toMatch(/^250/)
  })
})

describe('what is kept for friends', () => {
  const KEPT = { OVERLOAD: 'auto', OVERLOAD_EVENT_LOOP: '10s', ALLOW: '127.0.0.2' }

  test('of MAX_CONNECTIONS: strangers beyond the rest hear 421, and a trusted client is let in', async () => {
    const app = await begin({ ...KEPT, MAX_CONNECTIONS: '10' })
    const connects = async (from: string): Promise<string> => (await app.client(from)).reply()
    for (let i = 0; i < 8; i++) expect(await connects('127.0.0.1')).toMatch(/^220/)
    expect(await connects('127.0.0.2')).toMatch(/^220/)
    expect(await connects('127.0.0.1')).toMatch(AT_BANNER)
    const line = await app.waitForLog(({ reason }) => reason === 'overload')
    expect(line).toMatchObject({ overloadLevel: 0, limit: { name: 'overload', used: 9, max: 7 } })
    expect(await connects('127.0.0.2')).toMatch(/^220/)
    await app.reload({ ...KEPT, MAX_CONNECTIONS: '20', OVERLOAD_KNOWN_RESERVE: '0' })
    expect(await connects('127.0.0.1')).toMatch(/^220/)
  })

  test('of the connections to the mail servers: a trusted client gets one while strangers wait', async () => {
    const app = await begin({ ...KEPT, UPSTREAM_MAX_CONNECTIONS: '4', OVERLOAD_KNOWN_RESERVE: '0.5' })
    expect(await tries(app, { from: '127.0.0.2' })).toMatch(/^250/)
    const holders = await Promise.all(['127.0.1.1', '127.0.1.2', '127.0.1.3'].map((from) => app.client(from)))
    const replies: string[] = []
    for (const client of holders) {
      await client.hello()
      await client.command('MAIL FROM:<a@example.org>')
      client.write('RCPT TO:<b@example.net>\r\n')
      void client.reply().then(
        (reply) => replies.push(reply),
        () => undefined,
      )
    }
    await eventually(
      () => replies.length,
      (count) => count === 2,
    )
    expect(await tries(app, { from: '127.0.0.2' })).toMatch(/^250/)
    expect(replies).toHaveLength(2)
    // What a stranger gives back goes to the next one.
    expect(await holders[0]?.command('RSET')).toMatch(/^250/)
    await eventually(
      () => replies.length,
      (count) => count === 3,
    )
    for (const reply of replies) expect(reply).toMatch(/^250/)
  })
})

describe('by pressure', () => {
  /** Clients of several neighbourhoods: one alone is no pressure. */
  const ofNet = (i: number): string => `127.1.${i}.1`

  const slowDot: Script = async (verb) => {
    if (verb === 'DOT') await new Promise((resolve) => setTimeout(resolve, 150))
    return 'default' as never
  }

  test('a slow cluster raises the level; the log, the status and the metrics say which signal and which server', async () => {
    const app = await begin(
      { OVERLOAD: 'auto', OVERLOAD_UPSTREAM_LATENCY: '50ms', OVERLOAD_EVENT_LOOP: '10s' },
      slowDot,
    )
    expect(overload(app)).toMatchObject({ level: 0, mode: 'auto', admission: { new: 1 } })
    const clients = await Promise.all(Array.from({ length: 25 }, (_, i) => app.client(ofNet(i))))
    const sent = clients.map(async (client) => {
      await client.hello()
      return client.send('a@example.org', 'b@example.net')
    })
    for (const reply of await Promise.all(sent)) expect(reply).toMatch(/^250/)
    const risen = await app.waitForLog(({ msg }) => msg === 'the overload level has risen')
    const [upstream] = app.running.status().upstreams
    expect(risen).toMatchObject({
      level: 'warn',
      overloadLevel: 3,
      signal: 'upstream_latency',
      upstream: upstream?.upstream,
    })
    const seen = overload(app)
    expect(seen).toMatchObject({ level: 3, signal: 'upstream_latency', slowest: { upstream: upstream?.upstream } })
    expect(seen.slowest?.seconds).toBeGreaterThanOrEqual(0.14)
    expect(await app.metric('spillway_overload_level')).toBe(3)
    expect(await app.metric('spillway_overload_pressure_ratio{signal="upstream_latency"}')).toBeGreaterThan(2)
    expect(await app.metric('spillway_admission_ratio{standing="new"}')).toBeLessThanOrEqual(0.05)
    expect(await app.metric('spillway_admission_ratio{standing="known"}')).toBe(1)
    // The one that has brought messages is seen by now.
    await eventually(
      () => tries(app, { from: '127.9.0.3' }),
      (reply) => /^451 4\.3\.2 .*Busy/.test(reply),
    )
    expect((await app.get('/readyz?verbose')).body).toMatch(/^overload level 3 since .* \(upstream_latency\)$/m)
  }, 20_000)

  test('a reported queue raises the level while mail goes on quickly; the log and the status name the mail server', async () => {
    const app = await begin({ OVERLOAD: 'auto', OVERLOAD_EVENT_LOOP: '10s', ...WITH_TOKEN })
    const [server] = app.running.status().upstreams
    const upstream = server?.upstream as string
    const report = (value: number) =>
      fetch(`http://127.0.0.1:${app.adminPort}/api/v1/pressure`, {
        ...{ method: 'POST', headers: AS_OPERATOR },
        body: JSON.stringify({ upstream, value }),
      })
    expect((await report(1.3)).status).toBe(200)
    const risen = await app.waitForLog(({ msg }) => msg === 'the overload level has risen')
    expect(risen).toMatchObject({ overloadLevel: 3, signal: 'reported_queue', upstream, pressure: 1.3 })
    expect(overload(app)).toMatchObject({ signal: 'reported_queue', fullest: { upstream, pressure: 1.3 } })
    expect(await app.metric('spillway_overload_pressure_ratio{signal="reported_queue"}')).toBe(1.3)
    await report(0.1)
    await eventually(
      () => overload(app).pressure,
      (pressure) => pressure < 1,
    )
  }, 20_000)

  test('UPSTREAM_PRESSURE_URL is asked', async () => {
    const http = createServer((_, response) => response.end('0.25'))
    ends.push(async () => http.close())
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/`
    const app = await begin({ UPSTREAM_PRESSURE_URL: url })
    await eventually(
      () => overload(app).fullest?.pressure,
      (pressure) => pressure === 0.25,
    )
    expect(await app.metric('spillway_upstream_pressure_asked_total{result="ok"}')).toBe(1)
  })

  test('each signal is that of this node', async () => {
    const app = await begin({
      ...{ OVERLOAD: 'off', MAX_CONNECTIONS: '10', UPSTREAM_MAX_CONNECTIONS: '4', LIMIT_GLOBAL_MESSAGES: '10/1h' },
    })
    for (let i = 0; i < 7; i++) {
      const client = await app.client(ofNet(i))
      await client.hello()
      if (i >= 3) continue
      await client.command('MAIL FROM:<a@example.org>')
      expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
    }
    const { signals } = await eventually(
      () => overload(app),
      ({ signals: { connections } }) => connections === 1,
    )
    expect(signals).toMatchObject({ upstream_slots: 0.75, connections: 1, global_limits: 0.333, upstream_latency: 0 })
    expect(signals.memory).toBeGreaterThan(0)
    expect(await app.metric('spillway_overload_pressure_ratio{signal="connections"}')).toBeCloseTo(1)
    expect(overload(app)).toMatchObject({ level: 0, mode: 'off' })
  })

  test('as it is shipped, the same raises nothing', async () => {
    const app = await begin({ OVERLOAD: 'auto', OVERLOAD_EVENT_LOOP: '10s' }, slowDot)
    const clients = await Promise.all(Array.from({ length: 25 }, (_, i) => app.client(ofNet(i))))
    const sent = clients.map(async (client) => {
      await client.hello()
      return client.send('a@example.org', 'b@example.net')
    })
    for (const reply of await Promise.all(sent)) expect(reply).toMatch(/^250/)
    await eventually(
      () => overload(app).slowest,
      (slowest) => slowest !== undefined,
    )
    expect(overload(app)).toMatchObject({ level: 0, admission: { new: 1, suspect: 1 } })
    expect(overload(app).signals.memory).toBeGreaterThan(0)
  })
})
