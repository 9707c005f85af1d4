/** TLS sessions made at one node are resumed at another: by a secret in a file, by one that nodes agree on in Redis, by one from outside. */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, type SecureVersion, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { buildCertificates } from '../../src/build/certificates.ts'
import { readTicketKey } from '../../src/config/ticket-key.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import type { Certificates } from '../../src/front/certificates.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { startRedis } from '../services/redis.ts'
import { startFakeRedis } from '../state/fake-redis.ts'
import { eventually, startApp, type TestApp, testSettings } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const directory = mkdtempSync(join(tmpdir(), 'spillway-tickets-'))
const at = (name: string): string => join(directory, name)
let upstream: Upstream
let files: Record<string, string>
const running: TestApp[] = []

beforeAll(async () => {
  upstream = await startUpstream()
  for (const name of ['mx.test.example', 'mail.other.example']) {
    const { cert, key } = makeCertificate({ names: [`DNS:${name}`], subject: name })
    writeFileSync(at(`${name}.pem`), cert)
    writeFileSync(at(`${name}.key`), key)
  }
  const both = (end: string) => `${at(`mx.test.example.${end}`)},${at(`mail.other.example.${end}`)}`
  files = { TLS_CERT: both('pem'), TLS_KEY: both('key') }
  writeFileSync(at('secret'), `${randomBytes(48).toString('base64')}\n`)
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((app) => app.stop()))
})
afterAll(async () => {
  await upstream.stop()
  rmSync(directory, { recursive: true })
})

async function node(settings: Record<string, string> = {}): Promise<TestApp> {
  const app = await startApp(upstream.address, { ...files, ...settings })
  running.push(app)
  return app
}

/** One session with STARTTLS. @returns its ticket, and whether it was resumed */
async function visit(app: TestApp, version: SecureVersion, servername: string, session?: Buffer) {
  const client = await app.client()
  await client.hello()
  expect(await client.command('STARTTLS')).toMatch(/^220/)
  for (const event of ['data', 'end']) client.socket.removeAllListeners(event)
  const options = {
    socket: client.socket,
    servername,
    minVersion: version,
    maxVersion: version,
    rejectUnauthorized: false,
  }
  let ticket: Buffer | undefined
  const secure = await new Promise<TLSSocket>((resolve, reject) => {
    const made = connectTls({ ...options, ...(session && { session }) }, () => resolve(made))
    made.once('error', reject)
    made.on('session', (each) => {
      ticket = each
    })
  })
  secure.on('data', () => undefined)
  // In TLS 1.3 tickets come behind the handshake.
  secure.write('NOOP\r\n')
  const isReused = secure.isSessionReused()
  // One that is resumed goes on with the ticket it has.
  const got = await eventually(
    () => ticket ?? session,
    (each) => each !== undefined,
  )
  secure.destroy()
  return { isReused, ticket: got as Buffer }
}

const VERSIONS: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3']
const NAMES = ['mx.test.example', 'mail.other.example']
const CASES = VERSIONS.flatMap((version) => NAMES.map((name) => [version, name] as const))
const resumed = (app: TestApp) => app.metric('spillway_tls_handshakes_total{result="resumed"}')

test.each(CASES)('a secret in a file: a session of %s for %s is resumed at another node', async (version, name) => {
  const [a, b] = [await node({ TLS_TICKET_KEY: at('secret') }), await node({ TLS_TICKET_KEY: at('secret') })]
  const first = await visit(a, version, name)
  expect(first.isReused).toBe(false)
  expect((await visit(b, version, name, first.ticket)).isReused).toBe(true)
  expect([await resumed(a), await resumed(b)]).toEqual([0, 1])
  expect(await b.metric('spillway_tls_handshakes_total{result="ok"}')).toBe(0)
})

test('without a secret that they share, a node resumes its own sessions only', async () => {
  const [a, b] = [await node(), await node()]
  const { ticket } = await visit(a, 'TLSv1.3', 'mx.test.example')
  expect((await visit(b, 'TLSv1.3', 'mx.test.example', ticket)).isReused).toBe(false)
  expect((await visit(a, 'TLSv1.3', 'mx.test.example', ticket)).isReused).toBe(true)
})

test('a secret that has changed is used by itself, a bad one is told, and the one before stays', async () => {
  writeFileSync(at('changing'), 'a'.repeat(10) + randomBytes(32).toString('hex'))
  const settings = { TLS_TICKET_KEY: at('changing') }
  const [a, b] = [await node(settings), await node(settings)]
  const { ticket } = await visit(a, 'TLSv1.3', 'mx.test.example')
  const write = (text: string): void => {
    writeFileSync(at('new'), text)
    renameSync(at('new'), at('changing'))
  }
  write('short')
  await a.reload({ ...files, ...settings })
  const told = await a.waitForLog(({ setting }) => setting === 'SPILLWAY_TLS_TICKET_KEY')
  expect(told.expected).toMatch(/; it has 5 characters: make one with: openssl rand -base64 48$/)
  expect((await visit(a, 'TLSv1.3', 'mx.test.example', ticket)).isReused).toBe(true)
  const secret = randomBytes(32).toString('hex')
  write(secret)
  for (const app of [a, b]) await app.running.reload?.('the test')
  for (const app of [a, b])
    await app.waitForLog(({ msg }) => String(msg).startsWith('the secret of TLS session tickets has changed'))
  expect((await visit(a, 'TLSv1.3', 'mx.test.example', ticket)).isReused).toBe(false)
  const again = await visit(a, 'TLSv1.2', 'mx.test.example')
  expect((await visit(b, 'TLSv1.2', 'mx.test.example', again.ticket)).isReused).toBe(true)
  expect(a.logText() + b.logText()).not.toContain(secret)
})

test.each([
  ['', 'it is empty: make one with: openssl rand -base64 48'],
  ['0123456789', 'it has 10 characters: make one with: openssl rand -base64 48'],
  ['x'.repeat(64), 'it is too easy to guess: make one with: openssl rand -base64 48'],
  [
    '\u0000\ufffd'.repeat(40),
    'it has more than visible ASCII characters in it: make one with: openssl rand -base64 48',
  ],
])('a secret that will not do: %j', (text, hint) => {
  expect(readTicketKey('/x', () => ({ text }))).toEqual({ hint })
})

describe('with Redis', () => {
  const adopted = (app: TestApp) =>
    eventually(
      () => app.metric('spillway_redis_commands_total{use="tickets",result="ok"}'),
      (count) => (count ?? 0) > 0,
    )

  test('nodes agree on a secret for the day, which is not logged and which expires', async () => {
    const redis = await startRedis()
    try {
      const settings = { REDIS_URL: `redis://127.0.0.1:${redis.port}` }
      const [a, b] = [await node(settings), await node(settings)]
      for (const app of [a, b]) await adopted(app)
      for (const version of VERSIONS) {
        const { ticket } = await visit(a, version, 'mx.test.example')
        expect((await visit(b, version, 'mx.test.example', ticket)).isReused).toBe(true)
      }
      const cli = (...args: string[]) => redis.call(...args)
      const [key = ''] = (await cli('KEYS', 'spillway:tickets:*')).trim().split('\n')
      expect(key).toMatch(/^spillway:tickets:\d+$/)
      expect(Number(await cli('PTTL', key))).toBeGreaterThan(86_400_000)
      const secret = (await cli('HGET', key, 'secret')).trim()
      expect(secret).toMatch(/^[0-9a-f]{64}$/)
      expect(a.logText() + b.logText()).not.toContain(secret)
    } finally {
      await Promise.all(running.splice(0).map((app) => app.stop()))
      await redis.stop()
    }
  })

  test('one that hangs holds up no node: each serves TLS with a key of its own, and takes the agreed one later', async () => {
    const redis = await startRedis()
    try {
      redis.freeze()
      const settings = { REDIS_URL: `redis://127.0.0.1:${redis.port}` }
      const [a, b] = [await node(settings), await node(settings)]
      for (const version of VERSIONS) {
        const { isReused, ticket } = await visit(a, version, 'mx.test.example')
        expect(isReused).toBe(false)
        expect((await visit(a, version, 'mx.test.example', ticket)).isReused).toBe(true)
        expect((await visit(b, version, 'mx.test.example', ticket)).isReused).toBe(false)
      }
      for (const app of [a, b])
        expect(await app.metric('spillway_redis_commands_total{use="tickets",result="ok"}')).toBe(0)
      redis.thaw()
      for (const app of [a, b]) await adopted(app)
      for (const version of VERSIONS) {
        const { ticket } = await visit(a, version, 'mx.test.example')
        expect((await visit(b, version, 'mx.test.example', ticket)).isReused).toBe(true)
      }
    } finally {
      redis.thaw()
      await Promise.all(running.splice(0).map((app) => app.stop()))
      await redis.stop()
    }
  })

  test('one that answers nonsense, or nothing, leaves each node its own', async () => {
    const redis = await startFakeRedis()
    try {
      const app = await node({ REDIS_URL: `redis://127.0.0.1:${redis.port}` })
      const { ticket } = await visit(app, 'TLSv1.3', 'mx.test.example')
      expect((await visit(app, 'TLSv1.3', 'mx.test.example', ticket)).isReused).toBe(true)
      await eventually(
        () => app.metric('spillway_redis_commands_total{use="tickets",result="failed"}'),
        (count) => (count ?? 0) > 0,
      )
      expect(await app.metric('spillway_redis_commands_total{use="tickets",result="ok"}')).toBe(0)
      expect((await visit(app, 'TLSv1.3', 'mx.test.example', ticket)).isReused).toBe(true)
    } finally {
      await Promise.all(running.splice(0).map((each) => each.stop()))
      await redis.stop()
    }
  })
})

test('a key from outside is the key of all certificates, and a file comes before it', () => {
  const ticketKey = randomBytes(48)
  const keysOf = (settings: Record<string, string>): Buffer[] => {
    const log = { error: () => undefined } as unknown as Log
    const metrics = createMetrics({ version: 'test', upstreams: [] })
    const parts = { metrics, log, clock: SYSTEM_CLOCK, ticketKey: () => ticketKey }
    const all = testSettings(upstream.address, { ...files, ...settings })
    const { value } = (buildCertificates(all, parts) as Certificates).current
    return NAMES.map((name) => (value.contextFor(name).context as { getTicketKeys(): Buffer }).getTicketKeys())
  }
  expect(keysOf({})).toEqual([ticketKey, ticketKey])
  expect(keysOf({ TLS_TICKET_KEY: at('secret') })[0]).not.toEqual(ticketKey)
})

test('openssl resumes, at another node, the session that it saved at the first', async () => {
  const [a, b] = [await node({ TLS_TICKET_KEY: at('secret') }), await node({ TLS_TICKET_KEY: at('secret') })]
  const client = async (app: TestApp, ...more: string[]): Promise<string> => {
    const args = ['s_client', '-connect', `127.0.0.1:${app.port}`, '-starttls', 'smtp', '-tls1_2', ...more]
    const openssl = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'ignore'] })
    let said = ''
    openssl.stdout.on('data', (part) => (said += part))
    openssl.stdin.write('QUIT\r\n')
    await new Promise((resolve) => openssl.once('close', resolve))
    return said
  }
  expect(await client(a, '-sess_out', at('session'))).toContain('New, TLSv1.2')
  expect(execFileSync('openssl', ['sess_id', '-in', at('session'), '-noout', '-text']).toString()).toContain('ticket')
  expect(await client(b, '-sess_in', at('session'))).toContain('Reused, TLSv1.2')
})
