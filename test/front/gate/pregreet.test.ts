/** Who speaks before the greeting is whole, and what becomes of it: on real sockets, with the delay and without. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { BALANCER, eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
const ends: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.stop())
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function node(settings: Record<string, string>): Promise<TestApp> {
  const app = await startApp(upstream.address, { LOG_SAMPLE: '1', PROXY_PROTOCOL_FROM: BALANCER, ...settings })
  ends.push(() => app.stop())
  return app
}

const TEASER = '220-mx.test.example ESMTP Spillway'
const LAST = '220 mx.test.example ESMTP Spillway'
const BOTH = `${TEASER}\r\n${LAST}`
const REFUSED = /^554 5\.5\.0 \[127\.0\.0\.\d+\] Your client spoke before it was greeted \([0-9A-Z]{13}\)$/
const count = (app: TestApp, action: string, mode: string) =>
  app.metric(`spillway_refusals_total{stage="helo",reason="pregreet",action="${action}",mode="${mode}"}`)
/** Longer than any test: whoever waits it out would be late. */
const LONG = '9s'

/** When the first line of the greeting is here, and nothing else is. */
const teased = (client: Client): Promise<unknown> =>
  eventually(
    () => client.socket.bytesRead,
    (bytes) => bytes === TEASER.length + 2,
  )

describe('with GREETING_DELAY', () => {
  test.each([
    ['a whole session', 'EHLO bot.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n', ['503', '503']],
    ['half a line, without its end', 'EH', []],
  ])('R50 %s behind the first line: the last line at once, and 554 at EHLO', async (_, said, replies) => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: LONG })
    const client = await app.client()
    await teased(client)
    client.write(said)
    expect(await client.reply()).toBe(BOTH)
    if (said === 'EH') client.write('LO bot.example\r\n')
    expect(await client.reply()).toMatch(REFUSED)
    for (const code of replies) expect((await client.reply()).slice(0, 3)).toBe(code)
    // It hears it again, and is not cut off.
    expect(await client.command('HELO bot.example')).toMatch(REFUSED)
    expect(await client.command('QUIT')).toMatch(/^221/)
    expect(await count(app, 'reject', 'enforce')).toBe(2)
    const line = await app.waitForLog(({ reason }) => reason === 'pregreet')
    expect(line).toMatchObject({ outcome: 'rejected', stage: 'helo', code: 554, helo: 'bot.example' })
  })

  test('defer is 450, and what is pipelined behind it is put off as well', async () => {
    const app = await node({ PREGREET: 'defer', GREETING_DELAY: LONG })
    const client = await app.client()
    client.write('EHLO bot.example\r\nMAIL FROM:<a@example.org>\r\n')
    expect(await client.reply()).toBe(BOTH)
    expect(await client.reply()).toMatch(/^450 4\.5\.0 mx\.test\.example \[127\.0\.0\.1\] Your client spoke /)
    expect(await client.reply()).toMatch(/^451 4\.5\.1 /)
    expect(await count(app, 'defer', 'enforce')).toBe(1)
  })

  test('R50 a client that waits hears both lines, in their time, and its mail goes through', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: '300ms' })
    const before = performance.now()
    const client = await app.client()
    await teased(client)
    expect(await client.reply()).toBe(BOTH)
    expect(performance.now() - before).toBeGreaterThan(290)
    expect(await client.command('EHLO client.example')).toMatch(/^250/)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    expect(await count(app, 'reject', 'enforce')).toBe(0)
  })

  test('nobody waits who is trusted, and nothing it does is held against it', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: LONG, ALLOW: '127.0.0.5' })
    const client = await app.client('127.0.0.5')
    client.write('EHLO client.example\r\n')
    expect(await client.reply()).toBe(LAST)
    expect(await client.reply()).toMatch(/^250/)
  })

  test('nobody waits twice a day, also who brings nothing, unless it spoke or left before the end', async () => {
    const app = await node({ PREGREET: 'defer', GREETING_DELAY: '200ms' })
    const talker = await app.clientAs('203.0.113.8')
    await teased(talker)
    talker.write('EHLO bot.example\r\n')
    const leaver = await app.clientAs('203.0.113.9')
    await teased(leaver)
    leaver.end()
    expect(await leaver.reply()).toBe(BOTH)
    expect(await talker.reply()).toBe(BOTH)
    expect(await talker.reply()).toMatch(/^450/)
    for (const [ip, greeting] of [
      ['203.0.113.7', BOTH],
      ['203.0.113.7', LAST],
      ['203.0.113.8', BOTH],
      ['203.0.113.9', BOTH],
      // The rest of a /64 is the same client.
      ['2001:db8:1:2::3', BOTH],
      ['2001:db8:1:2:4::5', LAST],
      ['2001:db8:1:3::3', BOTH],
    ] as const) {
      const client = await app.clientAs(ip)
      expect([ip, await client.reply()]).toEqual([ip, greeting])
      expect(await client.command('EHLO client.example')).toMatch(/^250/)
      client.destroy()
    }
  })

  test('nobody waits with whom a mail server was content, behind a balancer as well', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: '200ms' })
    for (const [at, greeting] of [BOTH, LAST].entries()) {
      const client = await app.clientAs('203.0.113.7')
      expect(await client.reply()).toBe(greeting)
      await client.command('EHLO client.example')
      expect(await client.send('a@example.org', `b${at}@example.net`)).toMatch(/^250/)
    }
  })

  test('under stress the wait is shorter, and none of it is left to those whom the level refuses', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: '2s', OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s' })
    const before = performance.now()
    const client = await app.client()
    expect(await client.reply()).toBe(BOTH)
    expect(performance.now() - before).toBeLessThan(1500)
    const other = await node({ PREGREET: 'reject', GREETING_DELAY: LONG, OVERLOAD: '4', OVERLOAD_EVENT_LOOP: '10s' })
    expect(await (await other.client()).reply()).toMatch(/^421 4\.3\.2 /)
  })

  test('R50 R51 a node that is stopped says the last line before its 421', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: LONG })
    const client = await app.client()
    await teased(client)
    const stopped = app.running.stop()
    expect(await client.reply()).toBe(BOTH)
    expect(await client.reply()).toMatch(/^421 4\.3\.2 /)
    expect(await client.closed()).toBe('')
    client.destroy()
    await stopped
  })

  test.each(['end', 'resetConnection'] as const)(
    'R42 a client that leaves meanwhile (%s) leaves no seat',
    async (how) => {
      const app = await node({ PREGREET: 'reject', GREETING_DELAY: LONG })
      const client = await app.client()
      await teased(client)
      client[how]()
      await eventually(
        () => app.metric('spillway_connections_open{family="ipv4"}'),
        (open) => open === 0,
        5000,
      )
    },
  )

  test('R48 a PROXY header of a balancer that is not listed is not the client speaking', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: LONG })
    const client = await app.client('127.0.0.8')
    client.write('PROXY TCP4 203.0.113.5 192.0.2.25 4711 25\r\n')
    expect(await client.reply()).toBe(BOTH)
    expect(await client.reply()).toMatch(/^421 4\.3\.0 .*PROXY/)
    expect(await client.closed()).toBe('')
    expect(await count(app, 'reject', 'enforce')).toBe(0)
  })

  test('a reload changes both', async () => {
    const app = await node({ PREGREET: 'reject', GREETING_DELAY: LONG })
    await app.reload({ PREGREET: 'off', LOG_SAMPLE: '1', PROXY_PROTOCOL_FROM: BALANCER })
    const client = await app.client()
    client.write('EHLO bot.example\r\n')
    expect(await client.reply()).toBe(LAST)
    expect(await client.reply()).toMatch(/^250/)
    expect(await count(app, 'reject', 'observe')).toBe(0)
  })
})

describe('without a delay, as shipped', () => {
  test('what came first is seen, counted once a session and logged, and the client goes on', async () => {
    const app = await node({})
    const client = await app.clientAs('203.0.113.7')
    client.destroy()
    const bot = await app.client(BALANCER)
    // In one piece with the header, it was certainly here before the greeting.
    bot.write('PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\nEHLO bot.example\r\nEHLO bot.example\r\nQUIT\r\n')
    expect(await bot.reply()).toBe(LAST)
    for (const code of ['250', '250', '221']) expect((await bot.reply()).slice(0, 3)).toBe(code)
    expect(await count(app, 'reject', 'observe')).toBe(1)
    expect(await count(app, 'reject', 'enforce')).toBe(0)
    const line = await app.waitForLog(({ helo }) => helo === 'bot.example')
    expect(line).toMatchObject({ observe: ['pregreet', 'pipelining'], outcome: 'none' })
  })

  test('also where there is no balancer, and a client that waits is never taken for one, however quick it is', async () => {
    const app = await node({ PREGREET: 'reject' })
    const bot = await app.client()
    bot.write('EHLO bot.example\r\n')
    expect(await bot.reply()).toBe(LAST)
    expect(await bot.reply()).toMatch(REFUSED)
    const quick = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const client = await app.client()
        expect(await client.reply()).toBe(LAST)
        return client.command('EHLO client.example')
      }),
    )
    for (const reply of quick) expect(reply).toMatch(/^250/)
  })

  test('SPILLWAY_OBSERVE comes before the setting', async () => {
    const app = await node({ PREGREET: 'reject', OBSERVE: 'pregreet' })
    const bot = await app.client(BALANCER)
    bot.write('PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\nEHLO bot.example\r\n')
    await bot.reply()
    expect(await bot.reply()).toMatch(/^250/)
    expect(await count(app, 'reject', 'observe')).toBe(1)
  })

  test('a relay is put off, whatever is set', async () => {
    const app = await node({ PREGREET: 'reject', RELAYS: '203.0.113.9' })
    const relay = await app.client(BALANCER)
    relay.write('PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\nEHLO relay.example\r\n')
    await relay.reply()
    expect(await relay.reply()).toMatch(/^450 4\.5\.0 /)
  })
})
