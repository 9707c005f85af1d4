/**
 * Other protocols on the mail port: what each setting makes of them, at any point of a session; that no mail in the body of an HTTP request is
 * ever taken; and that nothing of SMTP is taken for one.
 */
import { request } from 'node:http'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { isOtherProtocol } from '../../../src/front/session/other-protocol.ts'
import { startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
/** As shipped. */
let app: TestApp
let defers: TestApp
let rejects: TestApp

beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address)
  defers = await startApp(upstream.address, { TONGUE: 'defer', LOG_SAMPLE: '1' })
  rejects = await startApp(upstream.address, { TONGUE: 'reject', ALLOW: '127.0.0.9', RELAYS: '127.0.0.8' })
})
afterAll(async () => {
  for (const each of [app, defers, rejects]) await each?.stop()
  await upstream.stop()
})

const LAST = /^421 4\.7\.0 mx\.test\.example \[127\.0\.0\.1\] This server speaks SMTP; .*\([0-9A-Z]{13}\)$/
const REFUSED = /^554 5\.5\.1 \[127\.0\.0\.1\] This server speaks SMTP; .*\([0-9A-Z]{11}0X\)$/
const UNKNOWN = /^500 5\.5\.2 Command not recognized \([0-9A-Z]{13}\)$/
const SPENT = /^421 4\.7\.0 .*Too many/
const counted = (of: TestApp, action: string, mode: string): Promise<number> =>
  of.metric(`spillway_refusals_total{stage="helo",reason="tongue",action="${action}",mode="${mode}"}`).then(Number)
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
  const lines = FOREIGN.map((line) => [line.slice(0, 40), line] as const)
  test.each(lines)(
    'R2 R8 %s, refused: the reply and the close, and what comes behind is not heard',
    async (_, line) => {
      for (const [node, last] of [[defers, LAST] as const, [rejects, REFUSED] as const]) {
        const client = await node.client()
        await client.hello()
        client.write(`${line}\r\n${ABUSE}`)
        expect(await client.reply()).toMatch(last)
        expect(await client.closed()).toBe('')
      }
      expect(upstream.mailed()).toEqual([])
    },
  )

  test.each(lines)('R25 %s, as shipped: an unknown command, and the fifth is the last', async (_, line) => {
    const client = await app.client()
    await client.hello()
    for (let i = 0; i < 4; i++) expect(await client.command(line)).toMatch(UNKNOWN)
    client.write(`${line}\r\n${ABUSE}`)
    expect(await client.reply()).toMatch(SPENT)
    expect(await client.closed()).toBe('')
    expect(upstream.mailed()).toEqual([])
  })

  test('R2 as the very first one', async () => {
    const before = await counted(defers, 'drop', 'enforce')
    const client = await defers.client()
    client.write(`POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n${ABUSE}`)
    expect(await client.reply()).toMatch(/^220 /)
    expect(await client.reply()).toMatch(LAST)
    expect(await client.closed()).toBe('')
    expect(await counted(defers, 'drop', 'enforce')).toBe(before + 1)
    expect(await defers.waitForLog(({ reason, helo }) => reason === 'tongue' && helo === undefined)).toMatchObject({
      ...{ outcome: 'shed', code: 421, stage: 'helo' },
    })
  })

  test('as shipped it is counted once a session, named in the log, and mail that follows is taken', async () => {
    const before = await counted(app, 'reject', 'observe')
    const client = await app.client()
    await client.hello()
    for (const line of ['GET / HTTP/1.1', 'Host: x']) expect(await client.command(line)).toMatch(UNKNOWN)
    expect(await client.send('late@example.org', 'b@example.net')).toMatch(/^250/)
    await client.command('QUIT')
    expect(await counted(app, 'reject', 'observe')).toBe(before + 1)
    expect(await app.waitForLog(({ from }) => String(from).endsWith('@example.org'))).toMatchObject({
      ...{ outcome: 'relayed', observe: ['tongue'] },
    })
  })

  test('off: nobody counts, and the fifth is still the last', async () => {
    const off = await startApp(upstream.address, { TONGUE: 'off' })
    try {
      const client = await off.client()
      await client.hello()
      for (let i = 0; i < 4; i++) expect(await client.command('GET / HTTP/1.1')).toMatch(UNKNOWN)
      expect(await client.command('GET / HTTP/1.1')).toMatch(SPENT)
      expect(await counted(off, 'reject', 'observe')).toBe(0)
      expect(await counted(off, 'reject', 'enforce')).toBe(0)
    } finally {
      await off.stop()
    }
  })

  test('R47 refused, a trusted client hears 500, and the fifth time 421; a relay never hears 5yz', async () => {
    const trusted = await rejects.client('127.0.0.9')
    await trusted.hello()
    for (let i = 0; i < 4; i++) expect(await trusted.command('GET / HTTP/1.1')).toMatch(UNKNOWN)
    expect(await trusted.command('GET / HTTP/1.1')).toMatch(SPENT)
    const relay = await rejects.client('127.0.0.8')
    await relay.hello()
    expect(await relay.command('GET / HTTP/1.1')).toMatch(/^421 4\.7\.0/)
  })

  test('R8 R29 in the middle of a transaction: no message goes upstream', async () => {
    const client = await defers.client()
    await client.hello()
    await client.command('MAIL FROM:<half@example.org>')
    await client.command('RCPT TO:<b@example.net>')
    client.write('Origin: https://evil.example\r\nDATA\r\nx\r\n.\r\n')
    expect(await client.reply()).toMatch(LAST)
    expect(await client.closed()).toBe('')
    expect(upstream.lastMailed()?.lines).not.toContain('DATA')
  })

  test.each(['POST', 'PUT'])(
    'a whole mail session in the body of a real %s is never reached, as shipped',
    async (method) => {
      const mailed = upstream.mailed().length
      const error = await new Promise<NodeJS.ErrnoException>((resolve) => {
        const http = request({ host: '127.0.0.1', port: app.port, method, headers: { 'Content-Type': 'text/plain' } })
        http.once('error', resolve)
        http.end(`EHLO x.example\r\n${ABUSE}QUIT\r\n`)
      })
      expect(error.code).toMatch(/^HPE_|ECONNRESET|EPIPE/)
      expect(upstream.mailed()).toHaveLength(mailed)
    },
  )
})

describe('TLS without STARTTLS', () => {
  test('R2 is told at once, though a ClientHello may never have the end of a line', async () => {
    for (const [node, reply] of [[app, UNKNOWN] as const, [defers, LAST] as const, [rejects, REFUSED] as const]) {
      const client = await node.client()
      expect(await client.reply()).toMatch(/^220/)
      client.write(CLIENT_HELLO)
      expect(await client.reply()).toMatch(reply)
      if (node !== app) expect(await client.closed()).toBe('')
    }
  })

  test('R2 also octet by octet, and behind commands', async () => {
    const client = await defers.client()
    await client.hello()
    client.write('NOOP\r\n')
    for (const octet of CLIENT_HELLO.subarray(0, 8)) {
      client.write(Buffer.of(octet))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(LAST)
  })

  test('a client that means it has its error at once, as shipped too', async () => {
    for (const node of [app, defers]) {
      const error = await new Promise<NodeJS.ErrnoException>((resolve) => {
        connectTls({ host: '127.0.0.1', port: node.port, rejectUnauthorized: false }).once('error', resolve)
      })
      expect(error.code).toMatch(/^ERR_SSL_|ECONNRESET/)
    }
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
