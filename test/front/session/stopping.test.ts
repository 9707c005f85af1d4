/** Spillway being stopped: who hears it when, and what is waited for. Where no time is set, those that are shipped hold. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, test } from '@jest/globals'
import type { Settings } from '../../../src/config/settings.ts'
import { CERT, KEY } from '../../config/pem.ts'
import { BALANCER, eventually, startApp, type TestApp, turn } from '../../support/app.ts'
import { type Client, connectClient } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

interface Begun {
  readonly app: TestApp
  readonly upstream: Upstream
}

async function begin(
  settings: Record<string, string> = {},
  script?: Upstream['script'],
  change: Partial<Settings> = {},
): Promise<Begun> {
  const upstream = await startUpstream(script === undefined ? {} : { script })
  ends.push(() => upstream.stop())
  const app = await startApp(upstream.address, settings, (same) => ({ ...same, ...change }))
  ends.push(() => app.stop())
  return { app, upstream }
}

async function withTls(): Promise<Begun> {
  const directory = mkdtempSync(join(tmpdir(), 'spillway-tls-'))
  ends.push(() => rmSync(directory, { recursive: true }))
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  writeFileSync(cert, CERT)
  writeFileSync(key, KEY)
  return begin({ TLS_CERT: cert, TLS_KEY: key })
}

/** When a stop is over, in milliseconds from its begin. */
async function stopping(app: TestApp): Promise<number> {
  const started = performance.now()
  await app.running.stop()
  return performance.now() - started
}

const DRAINING = /^421 4\.3\.2 mx\.test\.example \[127\.0\.0\.\d+\] This server is stopping; .*\([0-9A-Z]{13}\)$/
/** Far below SPILLWAY_SHUTDOWN_TIMEOUT (60s), for a machine that stands still now and then. */
const AT_ONCE_MS = 4000
const hello = async (app: TestApp): Promise<Client> => {
  const client = await app.client()
  await client.hello()
  return client
}
async function endsWith421(client: Client): Promise<void> {
  expect(await client.reply()).toMatch(DRAINING)
  expect(await client.closed()).toBe('')
  expect(client.wasReset).toBe(false)
}

describe('R51 a session without a transaction hears 421 at once', () => {
  test.each<[string, (app: TestApp) => Promise<Client>]>([
    [
      'behind the greeting',
      async (app) => {
        const client = await app.client()
        await client.reply()
        return client
      },
    ],
    ['behind EHLO', hello],
    [
      'in the middle of typing a command',
      async (app) => {
        const client = await hello(app)
        await client.command('NOOP')
        client.write('MAIL FRO')
        return client
      },
    ],
    [
      'behind a message',
      async (app) => {
        const client = await hello(app)
        expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
        return client
      },
    ],
    [
      'behind a transaction that came to nothing',
      async (app) => {
        const client = await hello(app)
        for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'RSET']) await client.command(line)
        return client
      },
    ],
  ])('%s', async (_, session) => {
    const { app } = await begin()
    const client = await session(app)
    const stopped = stopping(app)
    await endsWith421(client)
    expect(await stopped).toBeLessThan(AT_ONCE_MS)
  })

  test('R8 R14 what it had sent is answered first, and nothing behind the 421', async () => {
    const { app } = await begin()
    const client = await app.client()
    await client.reply()
    // It lies in the socket and was not read when the stop begins.
    client.write(`EHLO x\r\n${'NOOP\r\n'.repeat(50)}VRFY x\r\n`)
    const stopped = stopping(app)
    expect(await client.reply()).toMatch(/^250-/)
    for (let i = 0; i < 50; i++) expect(await client.reply()).toBe('250 2.0.0 Ok')
    expect(await client.reply()).toMatch(/^252/)
    await endsWith421(client)
    expect(await stopped).toBeLessThan(AT_ONCE_MS)
  })

  test('R8 a MAIL that comes now is answered by it: no transaction begins any more', async () => {
    const { app, upstream } = await begin()
    const client = await hello(app)
    client.write('NOOP\r\nMAIL FROM:<late@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n')
    const stopped = stopping(app)
    expect(await client.reply()).toMatch(/^250/)
    await endsWith421(client)
    await stopped
    expect(upstream.mailed()).toEqual([])
  })

  test('in place of the greeting, where its PROXY header came only now', async () => {
    const { app } = await begin({ PROXY_PROTOCOL_FROM: BALANCER })
    const client = await app.client(BALANCER)
    // By the time this is answered it has been accepted.
    expect((await app.get('/livez')).status).toBe(200)
    const stopped = stopping(app)
    client.write('PROXY TCP4 192.0.2.7 192.0.2.25 40000 25\r\nEHLO x\r\n')
    expect(await client.reply()).toMatch(/^421 4\.3\.2 mx\.test\.example \[192\.0\.2\.7\] This server is stopping/)
    expect(await client.closed()).toBe('')
    expect(await stopped).toBeLessThan(AT_ONCE_MS)
  })

  test('in TLS, where its handshake was under way', async () => {
    const { app } = await withTls()
    const client = await hello(app)
    expect(await client.command('STARTTLS')).toMatch(/^220/)
    const stopped = stopping(app)
    const text = await new Promise<string>((resolve) => {
      client.socket.removeAllListeners('data')
      const secure = connectTls({ socket: client.socket, rejectUnauthorized: false })
      let heard = ''
      secure.on('data', (chunk: Buffer) => {
        heard += chunk.toString('latin1')
      })
      secure.on('end', () => resolve(heard))
    })
    expect(text.trimEnd()).toMatch(DRAINING)
    expect(await stopped).toBeLessThan(AT_ONCE_MS)
  })

  test('or nothing, where its handshake does not go on: it is closed after 5 s', async () => {
    const { app } = await withTls()
    const client = await hello(app)
    expect(await client.command('STARTTLS')).toMatch(/^220/)
    const stopped = stopping(app)
    expect(await client.closed()).toBe('')
    const ms = await stopped
    expect(ms).toBeGreaterThan(4900)
    expect(ms).toBeLessThan(4900 + AT_ONCE_MS)
    const line = app.log().find(({ msg }) => msg === 'session')
    expect(line).toMatchObject({ outcome: 'none', tlsError: 'timeout' })
  })

  test('R8 but one that has had its last reply hears nothing more', async () => {
    const { app } = await begin()
    const client = await connectClient(app.port, { holdsOn: true })
    await client.hello()
    expect(await client.command('QUIT')).toMatch(/^221/)
    const stopped = stopping(app)
    expect(await client.closed()).toBe('')
    client.end()
    expect(await stopped).toBeLessThan(AT_ONCE_MS)
  })
})

describe('R51 a transaction is waited for', () => {
  test('to its 250; then 421, also where the next one is pipelined behind it', async () => {
    const { app, upstream } = await begin()
    const client = await hello(app)
    expect(await client.command('MAIL FROM:<a@example.org>')).toMatch(/^250/)
    const stopped = stopping(app)
    await turn(app)
    await expect(app.client()).rejects.toThrow()
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
    expect(await client.command('DATA')).toMatch(/^354/)
    client.write('Subject: last\r\n\r\nx\r\n.\r\nMAIL FROM:<next@example.org>\r\nRCPT TO:<b@example.net>\r\n')
    expect(await client.reply()).toMatch(/^250 2\.0\.0/)
    await endsWith421(client)
    await stopped
    expect(upstream.bodies()).toHaveLength(1)
    expect(upstream.mailed().flatMap(({ lines }) => lines)).not.toContain('MAIL FROM:<next@example.org>')
    expect(app.log().find(({ outcome }) => outcome === 'relayed')).toMatchObject({ reason: 'draining' })
  })

  test.each([
    ['RSET', '250 2.0.0 Ok'],
    ['EHLO again', '250-'],
    ['DATA', '554 5.5.1'],
  ])('or to its end by %s', async (command, reply) => {
    const { app } = await begin()
    const client = await hello(app)
    await client.command('MAIL FROM:<a@example.org>')
    const stopped = stopping(app)
    expect((await client.command(command)).slice(0, reply.length)).toBe(reply)
    await endsWith421(client)
    expect(await stopped).toBeLessThan(AT_ONCE_MS)
  })

  test('R1 R2 until SHUTDOWN_TIMEOUT is over: those that are left hear 421 then', async () => {
    const { app, upstream } = await begin({}, undefined, { shutdownTimeout: 200 })
    const [idle, envelope, body] = [await hello(app), await hello(app), await hello(app)]
    for (const client of [envelope, body]) {
      await client.command('MAIL FROM:<a@example.org>')
      await client.command('RCPT TO:<b@example.net>')
    }
    expect(await body.command('DATA')).toMatch(/^354/)
    body.write('Subject: half\r\n')
    const stopped = stopping(app)
    for (const client of [idle, envelope, body]) {
      await endsWith421(client)
      client.end()
    }
    expect(await stopped).toBeGreaterThanOrEqual(195)
    expect(upstream.bodies()).toHaveLength(0)
    const told = app.log().filter(({ reason }) => reason === 'draining')
    expect(told.map(({ stage }) => stage).sort()).toEqual(['data', 'helo', 'rcpt'])
  })

  test('R33 behind its dot also longer, its client hears the answer, then 421', async () => {
    let answer: (text: string) => void = () => undefined
    const script: Upstream['script'] = (verb) =>
      verb === 'DOT' ? new Promise((resolve) => (answer = resolve)) : 'default'
    const { app, upstream } = await begin({}, script, { shutdownTimeout: 50 })
    const client = await hello(app)
    for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']) await client.command(line)
    client.write('x\r\n.\r\n')
    await eventually(
      () => upstream.bodies().length,
      (count) => count === 1,
    )
    // Its 421 says that the time of all others is over.
    const other = await hello(app)
    await other.command('MAIL FROM:<a@example.org>')
    const stopped = stopping(app)
    await endsWith421(other)
    answer('250 2.0.0 queued')
    expect(await client.reply()).toMatch(/^250 2\.0\.0 queued/)
    await endsWith421(client)
    await stopped
    expect(app.log().find(({ outcome }) => outcome === 'relayed')).toMatchObject({ messages: [{ result: 'accepted' }] })
  })
})

test('R51 clients whose connections wait in the kernel then hear 421 too, however many they are: none is reset', async () => {
  const { app } = await begin()
  const directory = mkdtempSync(join(tmpdir(), 'spillway-queue-'))
  ends.push(() => rmSync(directory, { recursive: true }))
  const connected = join(directory, 'connected')
  const clients = `
    let up = 0, over = 0
    const heard = {}
    for (let i = 0; i < 60; i++) {
      let text = ''
      require('node:net').connect({ port: ${app.port}, host: '127.0.0.1', localAddress: '127.9.0.' + i })
        .on('connect', () => { if (++up === 60) require('node:fs').writeFileSync('${connected}', '') })
        .on('data', (data) => { text += data })
        .on('error', ({ code }) => { text += code })
        .on('close', () => {
          const last = text.trim().split('\\n').at(-1).slice(0, 3)
          heard[last] = (heard[last] ?? 0) + 1
          if (++over === 60) console.log(JSON.stringify(heard))
        })
    }`
  const child = spawn(process.execPath, ['-e', clients], { stdio: ['ignore', 'pipe', 'inherit'] })
  ends.push(() => child.kill('SIGKILL'))
  const told = once(child.stdout, 'data') as Promise<[Buffer]>
  // Nobody is accepted meanwhile.
  for (const until = performance.now() + 20_000; !existsSync(connected) && performance.now() < until; )
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
  await app.running.stop()
  expect(JSON.parse(String(await told))).toEqual({ 421: 60 })
})

test('not ready at once, alive until the end', async () => {
  const { app } = await begin()
  const client = await hello(app)
  await client.command('MAIL FROM:<a@example.org>')
  expect((await app.get('/readyz')).status).toBe(200)
  const stopped = app.running.stop()
  expect((await app.get('/readyz')).status).toBe(503)
  expect((await app.get('/livez')).status).toBe(200)
  expect(await client.command('QUIT')).toMatch(/^221/)
  await stopped
  await expect(app.get('/livez')).rejects.toThrow()
})

test('R30 ending now says how many messages are cut, and each has its line with its fate unknown', async () => {
  const { app, upstream } = await begin({}, (verb) => (verb === 'DOT' ? 'silence' : 'default'))
  const client = await hello(app)
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

test('R51 the program itself: SIGTERM, 421 to an idle session, and it is gone', async () => {
  const root = new URL('../../../', import.meta.url)
  const env = {
    PATH: '/usr/bin:/bin',
    SPILLWAY_UPSTREAMS: '127.0.0.1:1',
    SPILLWAY_UPSTREAM_CLIENT_IP: 'none',
    SPILLWAY_HOSTNAME: 'mx.test.example',
    SPILLWAY_LISTEN: '127.0.0.1:0',
    SPILLWAY_ADMIN_LISTEN: '127.0.0.1:0',
  }
  const child = spawn(process.execPath, ['src/main.ts', 'serve'], { cwd: root, env })
  ends.push(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve))
  const port = await eventually(
    () => Number(/"port":(\d+)[^\n]*"listening for mail"/.exec(output)?.[1]),
    (found) => found > 0,
  )
  const client = await connectClient(port)
  await client.hello()
  const started = performance.now()
  child.kill('SIGTERM')
  await endsWith421(client)
  expect(await exited).toBe(0)
  expect(performance.now() - started).toBeLessThan(AT_ONCE_MS)
})
