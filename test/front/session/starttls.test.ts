import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { CERT, KEY } from '../../config/pem.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let app: TestApp
const directory = mkdtempSync(join(tmpdir(), 'spillway-tls-'))

beforeAll(async () => {
  writeFileSync(join(directory, 'cert.pem'), CERT)
  writeFileSync(join(directory, 'key.pem'), KEY)
  upstream = await startUpstream()
  app = await startApp(upstream.address, {
    TLS_CERT: join(directory, 'cert.pem'),
    TLS_KEY: join(directory, 'key.pem'),
    TRACE_HEADER: 'on',
  })
})
afterAll(async () => {
  await upstream.stop()
  await app.stop()
  rmSync(directory, { recursive: true })
})
const handshakes = (result: string) => app.metric(`spillway_tls_handshakes_total{result="${result}"}`)

test('R22 is offered once; EHLO and MAIL are forgotten; mail goes through, and the trace says so', async () => {
  const client = await app.client()
  expect(await client.hello()).toContain('\r\n250-STARTTLS\r\n')
  expect(await client.command('MAIL FROM:<plain@example.org>')).toMatch(/^250/)
  await client.startTls()
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^503/)
  expect(await client.command('MAIL FROM:<a@example.org>')).toMatch(/^503/)
  const ehlo = await client.command('EHLO client.example')
  expect(ehlo).not.toContain('STARTTLS')
  expect(ehlo).toContain('\r\n250-SIZE')
  expect(await client.command('STARTTLS')).toMatch(/^503 5\.5\.1/)
  expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  expect(upstream.bodies().at(-1)?.toString()).toMatch(
    /^Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n\t\(using TLSv1\.3 with cipher TLS_\w+\)\r\n\tby mx\.test\.example \(Spillway\) with ESMTPS id/,
  )
  expect(upstream.mailed().flatMap(({ lines }) => lines)).not.toContain('MAIL FROM:<plain@example.org>')
  expect(await client.command('QUIT')).toMatch(/^221/)
  const line = await app.waitForLog(({ tls }) => tls === 'TLSv1.3')
  expect(line.outcome).toBe('relayed')
  expect(await handshakes('ok')).toBe(1)
})

test('R22 what came in the clear behind STARTTLS is thrown away (CVE-2011-0411)', async () => {
  const client = await app.client()
  await client.hello()
  // In one write, so that it lies in our buffer when TLS begins; startTls() sends its own STARTTLS line. So many lines are not
  // dealt with in one turn of the event loop: the rest would be waiting when the handshake is done.
  const clear = 'EHLO injected\r\nMAIL FROM:<injected@example.org>\r\n'.repeat(20) + 'NOOP\r\n'.repeat(10_000)
  const socket = client.socket
  const write = socket.write.bind(socket)
  socket.write = ((data: string | Buffer, encoding?: BufferEncoding) =>
    data === 'STARTTLS\r\n' ? write(`STARTTLS\r\n${clear}`, encoding) : write(data, encoding)) as typeof socket.write
  await client.startTls()
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^503/)
  expect(await client.command('VRFY x')).toMatch(/^252/)
  expect(upstream.mailed().flatMap(({ lines }) => lines)).not.toContain('MAIL FROM:<injected@example.org>')
})

test.each([
  ['garbage', (socket: { write(data: string): unknown }) => socket.write('this is no TLS\r\n'), /^ERR_SSL_/],
  ['a close', (socket: { end(): unknown }) => socket.end(), /^ECONNRESET|^the client left/],
  ['a reset', (socket: { resetAndDestroy(): unknown }) => socket.resetAndDestroy(), /^ECONNRESET|^the client left/],
])('R22 R42 a handshake that ends in %s is counted as failed, and leaves nothing open', async (_, act, why) => {
  const lines = () => app.log().filter(({ msg }) => msg === 'session')
  const told = lines().length
  const failed = (await handshakes('failed')) as number
  const client = await app.client()
  await client.hello()
  expect(await client.command('STARTTLS')).toMatch(/^220 2\.0\.0/)
  act(client.socket)
  await eventually(
    () => handshakes('failed'),
    (count) => count === failed + 1,
  )
  for (const other of app.clients) other.destroy()
  await eventually(
    () => app.metric('spillway_connections_open{family="ipv4"}'),
    (open) => open === 0,
  )
  expect(await handshakes('failed')).toBe(failed + 1)
  const own = await eventually(
    () =>
      lines()
        .slice(told)
        .map(({ tlsError }) => String(tlsError)),
    (errors) => errors.some((error) => why.test(error)),
  )
  expect(own.length).toBeGreaterThan(0)
})

test('STARTTLS with an argument is 501', async () => {
  const client = await app.client()
  await client.hello()
  expect(await client.command('STARTTLS now')).toMatch(/^501 5\.5\.4/)
})

test('a client cannot begin another handshake in TLS 1.2: renegotiation is refused', async () => {
  const args = ['-connect', `127.0.0.1:${app.port}`, '-starttls', 'smtp', '-tls1_2', '-legacy_renegotiation']
  const openssl = spawn('openssl', ['s_client', ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [openssl.stdout, openssl.stderr]) stream.on('data', (part) => (said += part))
  try {
    await eventually(
      () => said,
      (text) => text.includes('Verify return code') && /^250 /m.test(text),
    )
    const before = await handshakes('ok')
    openssl.stdin.write('R\n')
    await eventually(
      () => said,
      (text) => text.includes('RENEGOTIATING') && text.includes('no renegotiation'),
    )
    expect(await handshakes('ok')).toBe(before)
  } finally {
    openssl.kill()
  }
})
