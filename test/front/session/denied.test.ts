/** A deny list that a reload has changed reaches the sessions that are open, at their next command. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from '@jest/globals'
import { freePorts } from '../../services/ports.ts'
import { eventually, startApp, type TestApp, turn } from '../../support/app.ts'
import { makeCertificate } from '../../support/certificates.ts'
import type { Client } from '../../support/client.ts'
import { type Script, startUpstream, type Upstream } from '../../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function begin(settings: Record<string, string> = {}, script?: Script): Promise<[TestApp, Upstream]> {
  const upstream = await startUpstream(script === undefined ? {} : { script })
  ends.push(() => upstream.stop())
  const app = await startApp(upstream.address, settings)
  ends.push(() => app.stop())
  return [app, upstream]
}
const CLIENT = '127.0.0.3'
const hello = async (app: TestApp, from = CLIENT): Promise<Client> => {
  const client = await app.client(from)
  await client.hello()
  return client
}
const DENY = { DENY: CLIENT }
const DENIED = new RegExp(`^554 5\\.7\\.1 \\[${CLIENT}\\] Refused by local policy`)
const refusals = (app: TestApp, mode: string): Promise<number | undefined> =>
  app.metric(`spillway_refusals_total{stage="connect",reason="denied",action="drop",mode="${mode}"}`)

describe('a client that is denied while its session is open', () => {
  test.each(['NOOP', 'EHLO again', 'MAIL FROM:<a@example.org>', 'STARTTLS', 'nonsense', 'x'.repeat(2000)])(
    'is refused at its next command, and gone (%#)',
    async (command) => {
      const [app] = await begin()
      const client = await hello(app)
      await app.reload(DENY)
      expect(await client.command(command)).toMatch(DENIED)
      expect(await client.closed()).toBe('')
      expect(await refusals(app, 'enforce')).toBe(1)
      expect(await app.waitForLog(({ reason }) => reason === 'denied')).toMatchObject({
        stage: 'connect',
        code: 554,
        helo: 'client.example',
      })
    },
  )

  test('hears it before it has said anything, and at RCPT of a transaction', async () => {
    const [app] = await begin()
    const silent = await app.client(CLIENT)
    await silent.reply()
    const sender = await hello(app)
    expect(await sender.command('MAIL FROM:<a@example.org>')).toMatch(/^250/)
    await app.reload(DENY)
    expect(await silent.command('EHLO a.example')).toMatch(DENIED)
    expect(await sender.command('RCPT TO:<b@example.net>')).toMatch(DENIED)
    expect(await refusals(app, 'enforce')).toBe(2)
  })

  test('hears it under TLS as well, in the middle of what it pipelines, and the close after it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-denied-'))
    ends.push(async () => rmSync(folder, { recursive: true }))
    const { cert, key } = makeCertificate({ names: ['DNS:mx.test.example'] })
    const TLS = { TLS_CERT: join(folder, 'cert'), TLS_KEY: join(folder, 'key') }
    writeFileSync(TLS.TLS_CERT, cert)
    writeFileSync(TLS.TLS_KEY, key)
    const [app] = await begin(TLS)
    const client = await hello(app)
    await client.startTls()
    await client.command('EHLO client.example')
    await app.reload({ ...TLS, ...DENY })
    client.write('MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n')
    expect(await client.reply()).toMatch(DENIED)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
  })

  test('says goodbye as before', async () => {
    const [app] = await begin()
    const client = await hello(app)
    await app.reload(DENY)
    expect(await client.command('QUIT')).toMatch(/^221/)
  })

  test('leaves its seat at once, also if it does not close its side', async () => {
    const [app] = await begin()
    const client = await hello(app)
    await app.reload(DENY)
    client.socket.pause()
    client.write('NOOP\r\n')
    await eventually(
      () => app.running.status().connectionsOpen,
      (open) => open === 0,
      3000,
    )
  })

  test('has the message delivered whose text is under way; the next command is refused', async () => {
    const [app, upstream] = await begin()
    const client = await hello(app)
    for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']) await client.command(line)
    client.write('Subject: half\r\n')
    await turn(app)
    await app.reload(DENY)
    client.write('\r\nthe rest\r\n.\r\nMAIL FROM:<a@example.org>\r\n')
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(DENIED)
    expect(upstream.bodies().map(String)).toEqual(['Subject: half\r\n\r\nthe rest\r\n'])
  })

  test('is refused at the pipelined command that comes after the reload', async () => {
    let answer: () => void = () => undefined
    const [app, upstream] = await begin({}, (verb, _, connection) => {
      if (verb !== 'RCPT') return 'default'
      answer = () => connection.say('250 2.1.5 Ok')
      return 'silence'
    })
    const client = await hello(app)
    client.write('MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n')
    expect(await client.reply()).toMatch(/^250/)
    await eventually(
      () => upstream.mailed().flatMap(({ lines }) => lines),
      (lines) => lines.some((line) => line.startsWith('RCPT')),
    )
    await app.reload(DENY)
    answer()
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(DENIED)
    const [line] = (await app.ended()).filter(({ reason }) => reason === 'denied')
    expect(line).toMatchObject({ stage: 'connect', from: '***@example.org', messages: [{ result: 'rejected' }] })
    expect(upstream.mailed().flatMap(({ lines }) => lines)).not.toContain('DATA')
  })
})

test('what it was charged for a message that no mail server was asked about is given back', async () => {
  const [port = 0] = await freePorts(1)
  const limit = { LIMIT_IP_MESSAGES: '1/1h' }
  const app = await startApp(`127.0.0.1:${port}`, limit)
  ends.push(() => app.stop())
  const tried = async (): Promise<Client> => {
    const client = await hello(app)
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451 4\.3\.2 .*away/)
    return client
  }
  const client = await tried()
  await app.reload({ ...limit, ...DENY })
  expect(await client.command('DATA')).toMatch(DENIED)
  await app.reload(limit)
  await tried()
})

describe('it goes on for', () => {
  test('clients that are not on the list, and those whose session began on the allow list', async () => {
    const [app] = await begin({ ALLOW: '127.0.0.4' })
    const other = await hello(app, '127.0.0.5')
    const trusted = await hello(app, '127.0.0.4')
    await app.reload({ DENY: '127.0.0.3,127.0.0.4' })
    expect(await other.command('NOOP')).toMatch(/^250/)
    expect(await trusted.command('NOOP')).toMatch(/^250/)
    expect(await (await app.client('127.0.0.4')).reply()).toMatch(/^554/)
  })

  test('everybody while the check only observes, and each session counts once', async () => {
    const [app] = await begin()
    const client = await hello(app)
    for (const OBSERVE of ['denied', 'denied,size', 'all']) {
      await app.reload({ ...DENY, OBSERVE })
      expect(await client.command('NOOP')).toMatch(/^250/)
    }
    expect(await refusals(app, 'observe')).toBe(1)
    await app.reload(DENY)
    expect(await client.command('NOOP')).toMatch(DENIED)
    expect(await refusals(app, 'enforce')).toBe(1)
  }, 20_000)
})
