/** Settings that a reload changes, in a running node: for whom, from when on, and what those keep who were there before. */
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, describe, expect, test } from '@jest/globals'
import { ask } from '../admin/http-client.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { type Certificate, makeCertificate } from '../support/certificates.ts'
import type { Client } from '../support/client.ts'
import { type Script, startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function begin(settings: Record<string, string> = {}, script?: Script): Promise<TestApp> {
  const upstream = await startUpstream(script === undefined ? {} : { script })
  ends.push(() => upstream.stop())
  const app = await startApp(upstream.address, settings)
  ends.push(() => app.stop())
  return app
}
const MAIL = 'MAIL FROM:<a@example.org>'
const open = async (app: TestApp): Promise<Client> => {
  const client = await app.client()
  await client.hello()
  return client
}

test('what a session keeps to is that of its beginning', async () => {
  const app = await begin({ SESSION_MAX_MESSAGES: '2' })
  const before = await open(app)
  await app.reload({ SESSION_MAX_MESSAGES: '1' })
  const after = await open(app)
  for (const client of [before, after]) expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  expect(await before.command(MAIL)).toMatch(/^250/)
  expect(await after.command(MAIL)).toMatch(/^421/)
})

test('MAX_CONNECTIONS holds for the next client, and ends nobody', async () => {
  const app = await begin()
  const first = await open(app)
  await app.reload({ MAX_CONNECTIONS: '1' })
  expect(await (await app.client()).reply()).toMatch(/^421 4\.3\.2/)
  expect(await first.command('NOOP')).toMatch(/^250/)
  await app.reload({ MAX_CONNECTIONS: '2' })
  expect(await (await app.client()).reply()).toMatch(/^220/)
})

test('LOG_LOCAL_PARTS and LOG_SAMPLE hold for the next line', async () => {
  const app = await begin({ LOG_SAMPLE: '1' })
  const left = async (line: string): Promise<void> => {
    const client = await open(app)
    await client.command(line)
    await client.command('QUIT')
    await client.closed()
  }
  await left(MAIL)
  await app.waitForLog(({ from }) => from === '***@example.org')
  await app.reload({ LOG_SAMPLE: '2', LOG_LOCAL_PARTS: 'on' })
  await left('MAIL FROM:<one@example.org>')
  await left('MAIL FROM:<two@example.org>')
  await app.waitForLog(({ from, sample }) => from === 'two@example.org' && sample === 2)
  expect(app.logText()).not.toContain('one@example.org')
})

test('UNKNOWN_GUARD that is switched off passes on what the mail servers say', async () => {
  let isWell = true
  const app = await begin({}, (verb) => (verb === 'RCPT' && !isWell ? '550 5.1.1 User unknown' : 'default'))
  const client = await open(app)
  await client.command(MAIL)
  const users = Array.from({ length: 60 }, (_, i) => `RCPT TO:<user${i}@example.net>`)
  for (const user of users) expect(await client.command(user)).toMatch(/^250/)
  isWell = false
  let reply = ''
  for (const user of users) reply = await client.command(user)
  expect(reply).toMatch(/^451/)
  await app.reload({ UNKNOWN_GUARD: 'off' })
  expect(await client.command(users[0] as string)).toMatch(/^550 5\.1\.1/)
})

test('SHUTDOWN_TIMEOUT is that in force when the stop begins', async () => {
  const app = await begin({ SHUTDOWN_TIMEOUT: '24h' })
  const client = await open(app)
  await client.command(MAIL)
  await app.reload({ SHUTDOWN_TIMEOUT: '100ms' })
  const stopped = app.running.stop()
  expect(await client.reply()).toMatch(/^421/)
  await stopped
})

test('ADMIN_HOSTS holds for the next request', async () => {
  const app = await begin()
  const status = async (): Promise<number> =>
    (await ask(app.adminPort, 'GET /livez HTTP/1.1\r\nHost: admin.example\r\n\r\n')).status
  expect(await status()).toBe(421)
  await app.reload({ ADMIN_HOSTS: 'admin.example' })
  expect(await status()).toBe(200)
  await app.reload({})
  expect(await status()).toBe(421)
})

describe('certificates', () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-live-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const put = (name: string, { cert, key }: Certificate): Record<string, string> => {
    writeFileSync(join(folder, `${name}.crt`), cert)
    writeFileSync(join(folder, `${name}.key`), key)
    return { TLS_CERT: join(folder, `${name}.crt`), TLS_KEY: join(folder, `${name}.key`) }
  }
  const made = {
    one: makeCertificate({ names: ['DNS:mx.test.example'] }),
    two: makeCertificate({ names: ['DNS:b.example'] }),
  }
  const [ONE, TWO] = [put('one', made.one), put('two', made.two)]
  const serialOf = ({ cert }: Certificate): string => new X509Certificate(cert).serialNumber
  const shown = async (client: Client): Promise<string | undefined> => {
    await client.startTls()
    return client.serverCertificate
  }
  const expiries = async (app: TestApp): Promise<string[]> =>
    (await app.get('/metrics')).body.match(/^spillway_tls_certificate_expiry_timestamp_seconds\{.*\}/gm) ?? []

  test('that are named for the first time are offered to the next client, others to the next after that', async () => {
    const app = await begin()
    const [none, one] = [await open(app), await app.reload(ONE).then(() => open(app))]
    expect(await none.command('EHLO client.example')).not.toContain('STARTTLS')
    expect(await none.command('STARTTLS')).toMatch(/^502/)
    await app.reload(TWO)
    expect(await shown(await open(app))).toBe(serialOf(made.two))
    expect(await shown(one)).toBe(serialOf(made.one))
    expect(await expiries(app)).toEqual([expect.stringContaining('b.example')])
    expect(app.running.status().tls?.certificates).toHaveLength(1)
  }, 20_000)

  test('that are named no more are not offered, and those in use end nothing', async () => {
    const app = await begin(ONE)
    const secure = await open(app)
    await secure.startTls()
    await app.reload({})
    expect(await (await open(app)).command('EHLO a.example')).not.toContain('STARTTLS')
    expect(await secure.command('EHLO a.example')).toMatch(/^250/)
    expect(await expiries(app)).toEqual([])
    expect(app.running.status().tls).toBeUndefined()
  })

  describe('the secret of session tickets', () => {
    const at = (name: string): string => join(folder, name)
    const SECRET = 'u4vQ0bLZ8kqj2Yx7cN1mWp5sRt9aEd3f'
    const visit = async (app: TestApp, session?: Buffer) => {
      const client = await open(app)
      await client.startTls({ maxVersion: 'TLSv1.2', ...(session && { session }) })
      const socket = client.socket as TLSSocket
      return { isReused: socket.isSessionReused(), session: socket.getSession() as Buffer }
    }

    test.each([
      ['is too short', 'short', /; it has 5 characters: make one with: openssl rand -base64 48$/],
      ['is not there', undefined, /; there is no such file$/],
    ])(
      'that is named in a reload and %s is a mistake: the one before stays, and so does all else',
      async (_, text, why) => {
        writeFileSync(at('good'), SECRET)
        if (text === undefined) rmSync(at('bad'), { force: true })
        else writeFileSync(at('bad'), text)
        const settings = { ...ONE, TLS_TICKET_KEY: at('good') }
        const app = await begin(settings)
        const { session } = await visit(app)
        const report = await app.reload({ ...settings, TLS_TICKET_KEY: at('bad'), DENY: '127.0.0.1' })
        expect(report).toMatchObject({
          ...{ result: 'failed', changed: [] },
          mistakes: [{ name: 'SPILLWAY_TLS_TICKET_KEY', expected: expect.stringMatching(why) }],
        })
        expect((await visit(app, session)).isReused).toBe(true)
        const told = await app.waitForLog(({ setting }) => setting === 'SPILLWAY_TLS_TICKET_KEY')
        expect(told).toMatchObject({ level: 'error' })
        // Where it is corrected, the next reload takes it.
        writeFileSync(at('bad'), SECRET.split('').reverse().join(''))
        expect(await app.reload({ ...settings, TLS_TICKET_KEY: at('bad') })).toMatchObject({ result: 'ok' })
        const after = await visit(app, session)
        expect(after.isReused).toBe(false)
        expect((await visit(app, after.session)).isReused).toBe(true)
        expect(app.logText()).not.toContain(SECRET)
      },
    )

    test('whose file is gone when the settings are read again stays in force', async () => {
      writeFileSync(at('gone'), SECRET)
      const settings = { ...ONE, TLS_TICKET_KEY: at('gone') }
      const app = await begin(settings)
      const { session } = await visit(app)
      rmSync(at('gone'))
      expect(await app.reload(settings)).toMatchObject({
        ...{ result: 'failed', mistakes: [{ name: 'SPILLWAY_TLS_TICKET_KEY' }] },
      })
      expect((await visit(app, session)).isReused).toBe(true)
    })
  })

  test('that are renewed after a reload are followed', async () => {
    const app = await begin(ONE)
    await app.reload(put('later', made.two))
    const newer = makeCertificate({ names: ['DNS:mx.test.example'] })
    const LATER = put('later', newer)
    await app.reload(LATER)
    expect(await shown(await open(app))).toBe(serialOf(newer))
  }, 20_000)

  test('the oldest version of TLS holds for the next client', async () => {
    const app = await begin(ONE)
    const before = await open(app)
    await app.reload({ ...ONE, TLS_MIN_VERSION: '1.3' })
    await expect((await open(app)).startTls({ maxVersion: 'TLSv1.2' })).rejects.toThrow()
    await before.startTls({ maxVersion: 'TLSv1.2' })
  })

  test('with a key that is not theirs nothing changes at all', async () => {
    const app = await begin(ONE)
    const report = await app.reload({ ...TWO, TLS_KEY: ONE.TLS_KEY as string, MAX_CONNECTIONS: '1', DENY: '127.0.0.1' })
    expect(report).toMatchObject({ result: 'failed', changed: [], mistakes: [{ name: 'SPILLWAY_TLS_KEY' }] })
    const client = await open(app)
    expect(await shown(client)).toBe(serialOf(made.one))
    expect(await (await app.client()).reply()).toMatch(/^220/)
    expect(await expiries(app)).toEqual([expect.stringContaining('mx.test.example')])
  })
})
