/** Other protocols on the mail port: one 421 and the close, at any point of a session, and nothing of SMTP is ever taken for one. */
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { isOtherProtocol } from '../../../src/front/session/other-protocol.ts'
import { startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let app: TestApp

beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address)
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

const LAST = /^421 4\.7\.0 mx\.test\.example \[127\.0\.0\.1\] This server speaks SMTP; .*\([0-9A-Z]{13}\)$/
const ABUSE = 'MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nx\r\n.\r\n'
/** A real one, of TLS 1.3 with 512 octets, has its length, version and 32 random octets here; nothing in it ends a line. */
const CLIENT_HELLO = Buffer.concat([Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]), Buffer.alloc(506, 0xaa)])

const FOREIGN = [
  'GET / HTTP/1.1',
  'get /index.html',
  'GET',
  `GET /${'x'.repeat(600)} HTTP/1.1`,
  `POST /${'x'.repeat(5000)} HTTP/1.1`,
  'POST /mail HTTP/1.1',
  'HEAD / HTTP/1.0',
  'PUT /x HTTP/1.1',
  'OPTIONS * HTTP/1.1',
  'CONNECT mx.example.net:25 HTTP/1.1',
  'DELETE /x HTTP/1.1',
  'TRACE / HTTP/1.1',
  'PATCH /x HTTP/1.1',
  'PRI * HTTP/2.0',
  'Host: mx.example.net',
  'host:mx.example.net',
  'Content-Length: 200',
  'Sec-Fetch-Mode: no-cors',
  'Proxy-Connection: keep-alive',
  'SSH-2.0-OpenSSH_9.6',
]

describe('a line of another protocol', () => {
  test.each(FOREIGN.map((line) => [line.slice(0, 40), line]))(
    'R2 R8 %s is 421 4.7.0 and the close, and what comes behind it is not heard',
    async (_, line) => {
      const client = await app.client()
      await client.hello()
      client.write(`${line}\r\n${ABUSE}`)
      expect(await client.reply()).toMatch(LAST)
      expect(await client.closed()).toBe('')
      expect(upstream.mailed()).toEqual([])
    },
  )

  test('R2 as the very first one', async () => {
    const client = await app.client()
    client.write(`POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n${ABUSE}`)
    expect(await client.reply()).toMatch(/^220 /)
    expect(await client.reply()).toMatch(LAST)
    expect(await client.closed()).toBe('')
    const row = 'spillway_refusals_total{stage="connect",reason="tongue",action="drop",mode="enforce"}'
    expect(await app.metric(row)).toBe(1)
    const line = await app.waitForLog(({ reason }) => reason === 'tongue')
    expect(line).toMatchObject({ outcome: 'shed', code: 421 })
  })

  test('R8 R29 in the middle of a transaction: no message goes upstream', async () => {
    const client = await app.client()
    await client.hello()
    await client.command('MAIL FROM:<half@example.org>')
    await client.command('RCPT TO:<b@example.net>')
    client.write('Origin: https://evil.example\r\nDATA\r\nx\r\n.\r\n')
    expect(await client.reply()).toMatch(LAST)
    expect(await client.closed()).toBe('')
    expect(upstream.lastMailed()?.lines).not.toContain('DATA')
  })
})

describe('TLS without STARTTLS', () => {
  test('R2 is told at once, though a ClientHello may never have the end of a line', async () => {
    const client = await app.client()
    expect(await client.reply()).toMatch(/^220/)
    client.write(CLIENT_HELLO)
    expect(await client.reply()).toMatch(LAST)
    expect(await client.closed()).toBe('')
  })

  test('R2 also octet by octet, and behind commands', async () => {
    const client = await app.client()
    await client.hello()
    client.write('NOOP\r\n')
    for (const octet of CLIENT_HELLO.subarray(0, 8)) {
      client.write(Buffer.of(octet))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(LAST)
  })

  test('a client that means it has its error at once', async () => {
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => {
      connectTls({ host: '127.0.0.1', port: app.port, rejectUnauthorized: false }).once('error', resolve)
    })
    expect(error.code).toMatch(/^ERR_SSL_|ECONNRESET/)
  })
})

describe('what is no other protocol', () => {
  test.each([
    'EHLO get.example',
    'NOOP GET / HTTP/1.1',
    'HELP Host:',
    'VRFY Host: x',
    'SEND FROM:<a@example.org>',
    'SOML FROM:<a@example.org>',
    'XCLIENT ADDR=192.0.2.1',
    'X-EXPS GSSAPI',
    'X-LINK2STATE LAST CHUNK={x:y}',
    'MAILFROM:<a@example.org>',
    'Subject: behind a BDAT that was refused',
    'Content-Type: text/plain',
    'User-Agent: Mutt',
    'Accept-Language: en',
    'Hostess: x',
    'GETMAIL',
    'POSTMASTER',
    'SSH',
    '\x16',
    '\x16\x02',
    ': nothing',
    '',
  ])('%j', async (line) => {
    expect(isOtherProtocol(line)).toBe(false)
    const client = await app.client()
    await client.hello()
    expect(await client.command(line)).toMatch(/^(250|214|252|50[0123])/)
    expect(await client.command('NOOP')).toMatch(/^250/)
  })

  test('R26 the text of a message may hold all of it', async () => {
    const client = await app.client()
    await client.hello()
    const body = `${FOREIGN.join('\r\n')}\r\n\x16\x03\x01\r\n`
    expect(await client.send('a@example.org', 'b@example.net', body)).toMatch(/^250/)
    expect(upstream.bodies().at(-1)?.toString('latin1')).toBe(body)
  })
})
