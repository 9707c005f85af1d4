/** What the operator says at run time, asked over the admin port of a running node, with mail servers behind it. */
import { describe, expect, test } from '@jest/globals'
import { drained, StandingOrders } from '../../src/admin/orders.ts'
import type { Request } from '../../src/admin/request.ts'
import type { Status } from '../../src/admin/status.ts'
import type { Orders } from '../../src/core/orders.ts'
import { Pin } from '../../src/overload/pin.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { serverAt } from '../relay/pool/pool.ts'
import { eventually, type TestApp } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'
import type { Upstream } from '../support/upstream.ts'

const started = stoppedAfterEach()
const TOKEN = 'the-token-of-the-operator'
const begin = (servers: readonly Upstream[], more: Record<string, string> = {}): Promise<TestApp> =>
  started.app(servers.map(({ address }) => address).join(), { ADMIN_TOKEN: TOKEN, OVERLOAD_EVENT_LOOP: '10s', ...more })
const ask = async (app: TestApp, what: string, body?: unknown, token = TOKEN) => {
  const response = await fetch(`http://127.0.0.1:${app.adminPort}/api/v1/${what}`, {
    ...{ method: 'POST', headers: { Authorization: `Bearer ${token}` } },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { code: response.status, said: response.ok ? (JSON.parse(text) as unknown) : text.trim() }
}
const status = async (app: TestApp) => JSON.parse((await app.get('/api/v1/status')).body) as Status
const stateOf = async (app: TestApp, { address }: Upstream) =>
  (await status(app)).upstreams.find(({ upstream }) => upstream === address)
const isUp = (app: TestApp, server: Upstream): Promise<unknown> =>
  eventually(
    () => stateOf(app, server),
    (now) => now?.state === 'up',
  )
const greeted = async (app: TestApp): Promise<Client> => {
  const client = await app.client()
  await client.hello()
  return client
}
const send = (client: Client, subject: string): Promise<string> =>
  client.send('a@sender.example', 'anna@example.test', `Subject: ${subject}\r\n\r\nhello\r\n`)
const textOf = (server: Upstream): string => server.bodies().join()

describe('a mail server that is drained', () => {
  test('gets no new mail, what it has goes on to its end, and undrain brings it back', async () => {
    const [one, two] = [await started.upstream(), await started.upstream()]
    const app = await begin([one, two])
    for (const server of [one, two]) await isUp(app, server)
    const long = await greeted(app)
    for (const line of ['MAIL FROM:<a@sender.example>', 'RCPT TO:<anna@example.test>'])
      expect(await long.command(line)).toMatch(/^250/)
    expect(await long.command('DATA')).toMatch(/^354/)
    const server = one.mailed().length > 0 ? one : two
    const other = server === one ? two : one
    const { code, said } = await ask(app, 'drain', { upstream: server.address })
    expect([code, said]).toEqual([200, { upstreams: [server.address] }])
    long.write('Subject: long\r\n\r\nthe end\r\n.\r\n')
    expect(await long.reply()).toMatch(/^250/)
    expect(textOf(server)).toContain('Subject: long')
    const before = server.mailed().length
    // Also the next message of a session whose last one went there.
    expect(await send(long, 'the next')).toMatch(/^250/)
    for (let i = 0; i < 4; i++) expect(await send(await greeted(app), `new ${i}`)).toMatch(/^250/)
    expect(server.mailed()).toHaveLength(before)
    expect(textOf(other)).toContain('Subject: new 3')
    expect(await stateOf(app, server)).toMatchObject({
      ...{ state: 'drained', up: false, error: expect.stringContaining('until spillway undrain') },
    })
    const label = `{upstream="${server.address}"}`
    expect(await app.metric(`spillway_upstream_up${label}`)).toBe(0)
    expect(await app.metric(`spillway_upstream_drained${label}`)).toBe(1)
    // It is checked all the while, and checks do not bring it back.
    const checks = await app.metric(`spillway_upstream_health_checks_total{upstream="${server.address}",result="ok"}`)
    await eventually(
      () => app.metric(`spillway_upstream_health_checks_total{upstream="${server.address}",result="ok"}`),
      (now) => Number(now) > Number(checks) + 1,
    )
    expect((await stateOf(app, server))?.state).toBe('drained')
    // Nor does a reload.
    await app.reload({ UPSTREAMS: `${one.address},${two.address}`, ADMIN_TOKEN: TOKEN, HOSTNAME: 'mx.test.example' })
    expect((await stateOf(app, server))?.state).toBe('drained')
    expect((await ask(app, 'undrain', { upstream: server.address })).said).toEqual({ upstreams: [] })
    expect(await stateOf(app, server)).toMatchObject({ state: 'up', up: true })
    await ask(app, 'drain', { upstream: other.address })
    expect(await send(await greeted(app), 'back')).toMatch(/^250/)
    expect(textOf(server)).toContain('Subject: back')
    expect(
      app
        .log()
        .filter(({ msg }) => String(msg).includes('drained'))
        .map(({ upstream }) => upstream),
    ).toEqual([server.address, server.address, other.address])
  })

  test('in turn, under load: nothing is refused, lost or delivered twice', async () => {
    const servers = [await started.upstream(), await started.upstream()] as const
    // As shipped: nothing here waits for the next round of health checks.
    const app = await begin(servers, { UPSTREAM_HEALTH_INTERVAL: '5s' })
    for (const server of servers) await isUp(app, server)
    const sent: string[] = []
    const replies = new Set<string>()
    let isOver = false
    const load = async (who: number): Promise<void> => {
      for (let session = 0; !isOver; session++) {
        const client = await greeted(app)
        // Some sessions bring one message, others several over a connection that is parked meanwhile.
        for (let i = 0; i <= who; i++) {
          sent.push(`${who}.${session}.${i}`)
          replies.add(await send(client, sent.at(-1) as string))
        }
        client.end()
      }
    }
    const loads = [0, 1, 2, 3].map(load)
    const counts = () => servers.map((server) => server.bodies().length)
    for (let i = 0; i < 8; i++) {
      const [drained, used] = i % 2 === 0 ? servers : [servers[1], servers[0]]
      await ask(app, 'undrain', { upstream: used.address })
      await ask(app, 'drain', { upstream: drained.address })
      const at = servers.indexOf(used)
      const [before = 0] = counts().slice(at)
      await eventually(counts, (now) => (now[at] ?? 0) >= before + 5)
    }
    isOver = true
    await Promise.all(loads)
    expect([...replies]).toEqual(['250 2.0.0 Ok: queued as SCRIPTED'])
    const subjects = servers
      .flatMap((server) => server.bodies())
      .map((body) => /^Subject: (.*)\r\n/.exec(`${body}`)?.[1])
    expect(subjects.sort()).toEqual(sent.sort())
  })

  test('the last one: every recipient hears 451, readiness stays, and status says why', async () => {
    const server = await started.upstream()
    const app = await begin([server])
    await isUp(app, server)
    expect(await ask(app, 'drain', { upstream: server.address })).toEqual({
      code: 409,
      said: expect.stringContaining(`${server.address} is the only mail server that is up`),
    })
    expect((await stateOf(app, server))?.state).toBe('up')
    await ask(app, 'drain', { upstream: server.address, force: true })
    const client = await greeted(app)
    expect(await client.command('MAIL FROM:<a@sender.example>')).toMatch(/^250/)
    expect(await client.command('RCPT TO:<anna@example.test>')).toMatch(/^451 4\./)
    expect((await app.get('/readyz')).status).toBe(200)
    expect((await app.get('/readyz?verbose')).body).toContain('the operator has drained it')
    expect(app.log().at(-1)).toMatchObject({ msg: expect.stringContaining('all upstreams are drained') })
    await ask(app, 'undrain', { upstream: server.address })
    expect(await send(await greeted(app), 'again')).toMatch(/^250/)
  })

  test('of two that are drained at once the second one is kept; one that is down already needs no force', async () => {
    const [one, two] = [await started.upstream(), await started.upstream()]
    const app = await begin([one, two])
    for (const server of [one, two]) await isUp(app, server)
    const codes = await Promise.all([one, two].map(({ address }) => ask(app, 'drain', { upstream: address })))
    expect(codes.map(({ code }) => code).sort()).toEqual([200, 409])
    expect((await ask(app, 'undrain', { upstream: one.address, force: true })).code).toBe(400)
    expect((await ask(app, 'drain', { upstream: one.address, force: 'yes' })).said).toBe('force: true or false')
    const kept = codes[0]?.code === 409 ? one : two
    await kept.stop()
    await eventually(
      () => stateOf(app, kept),
      (now) => now?.state === 'down',
    )
    expect((await ask(app, 'drain', { upstream: kept.address })).code).toBe(200)
  })

  test('of two that are drained while the workers are asked how they are, the second one is kept as well', async () => {
    const log = { info: () => undefined, warn: () => undefined } as unknown as Log
    const both = ['a:25', 'b:25']
    const orders = new StandingOrders({
      ...{ upstreams: () => both, overload: () => 'auto', obey: () => undefined, now: () => 1000, log },
    })
    // Both are told of the time before.
    const status = async () => ({ upstreams: both.map((upstream) => ({ upstream, up: true })) }) as unknown as Status
    const request = (upstream: string) => {
      const body = Buffer.from(JSON.stringify({ upstream }))
      return { body, length: body.length } as unknown as Request
    }
    const answers = await Promise.all(both.map((each) => drained(request(each), 'drain', { orders, status })))
    expect(answers.map(({ code }) => code)).toEqual([200, 409])
  })

  test('that was away for five minutes begins slowly, as after an outage; after less it does not', () => {
    for (const [ms, limit] of [
      [299_999, 100],
      [300_000, 10],
    ] as const) {
      let at = 1_800_000_000_000
      const server = serverAt('192.0.2.1', () => [], { now: () => at, bounds: { floor: 5, ceiling: 200 } })
      server.drain(true)
      at += ms
      server.drain(false)
      expect([ms, server.load.max]).toEqual([ms, limit])
    }
  })

  test('that is down says both', async () => {
    const server = await started.upstream()
    const app = await begin([server])
    await isUp(app, server)
    await ask(app, 'drain', { upstream: server.address, force: true })
    await server.stop()
    const { error } = (await eventually(
      () => stateOf(app, server),
      (now) => now?.error?.includes('It is down') === true,
    )) as { error: string }
    expect(error).toMatch(/drained it: .* It is down: .*ECONNREFUSED/)
  })
})

test('a node that is drained says so to balancers, and serves whoever comes', async () => {
  const server = await started.upstream()
  const app = await begin([server])
  expect((await ask(app, 'drain')).said).toEqual({ since: expect.stringMatching(/^20.*Z$/), upstreams: [] })
  expect((await app.get('/readyz')).status).toBe(503)
  expect((await app.get('/livez')).status).toBe(200)
  expect((await app.get('/readyz?verbose')).body).toMatch(/drained by the operator since 20.*spillway undrain/)
  expect((await status(app)).drainedSince).toMatch(/^20/)
  expect(await app.metric('spillway_drained')).toBe(1)
  expect(await send(await greeted(app), 'all the same')).toMatch(/^250/)
  expect((await ask(app, 'undrain', {})).said).toEqual({ upstreams: [] })
  expect((await app.get('/readyz')).status).toBe(200)
  expect(await status(app)).not.toHaveProperty('drainedSince')
})

describe('the level', () => {
  test('is pinned, obeyed, shown and over by itself; then the setting decides again', async () => {
    const server = await started.upstream()
    const app = await begin([server], { OVERLOAD: 'off' })
    const { said } = await ask(app, 'level', { level: 4, time: '1s' })
    expect(said).toEqual({ mode: 4, until: expect.stringMatching(/^20/) })
    expect(await (await app.client()).reply()).toMatch(/^421 4\.3\.2/)
    expect((await status(app)).overload).toMatchObject({
      level: 4,
      mode: 4,
      pinnedUntil: (said as { until: string }).until,
    })
    await eventually(
      () => status(app),
      ({ overload }) => overload?.level === 0 && overload.mode === 'off' && overload.pinnedUntil === undefined,
    )
    expect(await (await app.client()).reply()).toMatch(/^220/)
    await app.waitForLog(({ msg }) => String(msg).includes('no longer pinned'))
    // What the setting says already ends it at once, and is no pin.
    await ask(app, 'level', { level: '3' })
    expect((await ask(app, 'level', { level: 'off' })).said).toEqual({ mode: 'off' })
    expect((await status(app)).overload).toMatchObject({ level: 0 })
  })

  test('a pin lasts as long as it is to, whatever becomes of the clock on the wall', () => {
    let elapsed = 5000
    let wall = 1_800_000_000_000
    const told: string[] = []
    const log = { info: (_: object, msg: string) => void told.push(msg) } as unknown as Log
    const pin = new Pin({ now: () => wall, elapsed: () => elapsed }, log)
    pin.set({ mode: 2, until: wall + 60_000 })
    wall += 3_600_000
    elapsed += 59_999
    expect(pin.mode).toBe(2)
    elapsed += 1
    expect(pin.mode).toBeUndefined()
    expect(told).toHaveLength(1)
  })
})

test('what was said is handed on as a whole, and what says nothing new is not', () => {
  const given: Orders[] = []
  const log = { info: () => undefined, warn: () => undefined } as unknown as Log
  const orders = new StandingOrders({
    ...{ upstreams: () => ['a:25', 'b:25'], overload: () => 'auto', now: () => 1000, log },
    obey: (next) => void given.push(next),
  })
  orders.drain('a:25')
  orders.drain('a:25')
  orders.drain(undefined)
  orders.drain(undefined)
  orders.undrain('b:25')
  orders.pin(3, 5000)
  expect(given).toHaveLength(3)
  expect(given.at(-1)).toEqual({ drainedSince: 1000, drained: ['a:25'], pin: { mode: 3, until: 6000 } })
  orders.pin('auto', 5000)
  orders.undrain('a:25')
  orders.undrain(undefined)
  orders.undrain(undefined)
  expect(given).toHaveLength(6)
  expect(given.at(-1)).toEqual({ drainedSince: undefined, drained: [], pin: undefined })
})

test('what cannot be done is told with what to do, and nothing is done without the token', async () => {
  const server = await started.upstream()
  const app = await begin([server])
  const cases: [string, unknown, string][] = [
    ['drain', { upstream: 'mail9:25' }, `upstream: one of ${server.address}, as SPILLWAY_UPSTREAMS has it`],
    ['undrain', { upstream: 5 }, 'upstream: one of'],
    ['drain', { server: 'x' }, 'the body has upstream, or nothing: then it is about this node'],
    ['drain', [], 'the body is a JSON object'],
    ['level', undefined, 'the body is a JSON object'],
    ['level', { level: 5 }, 'level: auto, off, 0, 1, 2, 3, 4'],
    ['level', { level: 2, time: '30' }, 'time: a duration with its unit'],
    ['level', { level: 2, time: '8d' }, 'at most 7d'],
    ['level', { level: 2, until: '8d' }, 'the body has level and time'],
  ]
  for (const [what, body, why] of cases) {
    const { code, said } = await ask(app, what, body)
    expect([what, body, code, said]).toEqual([what, body, 400, expect.stringContaining(why)])
  }
  for (const what of ['drain', 'undrain', 'level']) {
    expect((await ask(app, what, { level: 4 }, 'another')).code).toBe(401)
    expect((await app.get(`/api/v1/${what}`)).status).toBe(405)
  }
  expect((await app.get('/readyz')).status).toBe(200)
})
