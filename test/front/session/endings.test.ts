/** Ends that are not the client's doing: silence for too long, and Spillway being stopped. */
import { afterEach, describe, expect, test } from '@jest/globals'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})
/** Timeouts no operator may set, in milliseconds. */
async function begin(
  times: { idleTimeout?: number; shutdownTimeout?: number },
  script?: Upstream['script'],
): Promise<{ app: TestApp; upstream: Upstream }> {
  const upstream = await startUpstream(script === undefined ? {} : { script })
  const app = await startApp(upstream.address, {}, (settings) => ({ ...settings, ...times }))
  ends.push(
    () => app.stop(),
    () => upstream.stop(),
  )
  return { app, upstream }
}
const IDLE = /^421 4\.4\.2 mx\.test\.example \[127\.0\.0\.1\] .*\([0-9A-Z]{13}\)$/
const DRAINING = /^421 4\.3\.2 mx\.test\.example .*stopping/
const row = (stage: string, reason: string): string =>
  `spillway_refusals_total{stage="${stage}",reason="${reason}",action="drop",mode="enforce"}`

describe('silence', () => {
  test('R2 R34 behind the greeting: 421 4.4.2, then the close', async () => {
    const { app } = await begin({ idleTimeout: 150 })
    const client = await app.client()
    expect(await client.reply()).toMatch(/^220/)
    expect(await client.reply()).toMatch(IDLE)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
    expect(await app.metric(row('connect', 'idle'))).toBe(1)
    expect(await app.metric('spillway_sessions_total{outcome="shed",standing="new"}')).toBe(1)
  })

  test('R34 behind several messages the 421 still comes before the close', async () => {
    const { app } = await begin({ idleTimeout: 150 })
    const client = await app.client()
    await client.hello()
    for (let i = 0; i < 3; i++) await client.send('a@example.org', 'b@example.net')
    expect(await client.reply()).toMatch(IDLE)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
    expect(await app.metric('spillway_sessions_total{outcome="relayed",standing="new"}')).toBe(1)
  })

  test('R34 a client that waits for us is not idle, and one in DATA is given longer', async () => {
    const { app } = await begin(
      { idleTimeout: 100 },
      (verb) =>
        new Promise((resolve) =>
          setTimeout(() => resolve('default' as never), verb === 'RCPT' || verb === 'DOT' ? 350 : 0),
        ),
    )
    const client = await app.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
    expect(await client.command('DATA')).toMatch(/^354/)
    await new Promise((resolve) => setTimeout(resolve, 300))
    client.write('x\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250/)
  })
})

describe('stopping', () => {
  test('not ready at once, the port is closed, and a session in the middle may finish', async () => {
    const { app } = await begin({ shutdownTimeout: 3000 })
    const client = await app.client()
    await client.hello()
    expect((await app.get('/readyz')).status).toBe(200)
    const stopped = app.running.stop()
    expect((await app.get('/readyz')).status).toBe(503)
    expect((await app.get('/livez')).status).toBe(200)
    await expect(app.client()).rejects.toThrow()
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    expect(await client.command('QUIT')).toMatch(/^221/)
    await stopped
    await expect(app.get('/livez')).rejects.toThrow()
  })

  test('R1 R2 those that stay hear 421 4.3.2 when the time is up', async () => {
    const { app, upstream } = await begin({ shutdownTimeout: 200 })
    const [idle, envelope, body] = [await app.client(), await app.client(), await app.client()]
    for (const client of [idle, envelope, body]) await client.hello()
    for (const client of [envelope, body]) {
      await client.command('MAIL FROM:<a@example.org>')
      await client.command('RCPT TO:<b@example.net>')
    }
    expect(await body.command('DATA')).toMatch(/^354/)
    body.write('Subject: half\r\n')
    const started = performance.now()
    const stopped = app.running.stop()
    for (const client of [idle, envelope, body]) {
      expect(await client.reply()).toMatch(DRAINING)
      expect(await client.closed()).toBe('')
      expect(client.wasReset).toBe(false)
      client.end()
    }
    await stopped
    expect(performance.now() - started).toBeGreaterThanOrEqual(195)
    expect(upstream.bodies()).toHaveLength(0)
    const told = app.log().filter(({ reason }) => reason === 'draining')
    expect(told.map(({ stage }) => stage).sort()).toEqual(['data', 'helo', 'rcpt'])
  })

  test('R33 a message past its dot is waited for, its client hears the answer, then 421', async () => {
    let answer: (text: string) => void = () => undefined
    const { app, upstream } = await begin({ shutdownTimeout: 50 }, (verb) =>
      verb === 'DOT' ? new Promise((resolve) => (answer = resolve)) : 'default',
    )
    const client = await app.client()
    await client.hello()
    for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']) await client.command(line)
    client.write('x\r\n.\r\n')
    await eventually(
      () => upstream.bodies().length,
      (count) => count === 1,
    )
    let over = false
    const stopped = app.running.stop().then(() => {
      over = true
    })
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(over).toBe(false)
    answer('250 2.0.0 queued')
    expect(await client.reply()).toMatch(/^250 2\.0\.0 queued/)
    expect(await client.reply()).toMatch(DRAINING)
    client.end()
    await stopped
    expect(app.log().find(({ outcome }) => outcome === 'relayed')).toMatchObject({ messages: [{ result: 'accepted' }] })
  })

  test('R30 ending now says how many messages are cut, and each has its line with its fate unknown', async () => {
    const { app, upstream } = await begin({}, (verb) => (verb === 'DOT' ? 'silence' : 'default'))
    const client = await app.client()
    await client.hello()
    for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']) await client.command(line)
    client.write('x\r\n.\r\n')
    await eventually(
      () => upstream.bodies().length,
      (count) => count === 1,
    )
    await app.running.abort()
    expect(app.log().find(({ unknown }) => unknown !== undefined)).toMatchObject({ level: 'warn', unknown: 1 })
    expect(app.log().find(({ msg }) => msg === 'session')).toMatchObject({
      from: '***@example.org',
      messages: [{ upstream: upstream.address, result: 'unknown' }],
    })
    expect(await app.running.metrics.registry.getSingleMetricAsString('spillway_messages_total')).toContain(
      'result="unknown",standing="new"} 1',
    )
    await client.closed()
  })
})
