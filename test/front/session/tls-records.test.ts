import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { CERT, KEY } from '../../config/pem.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let app: TestApp
const directory = mkdtempSync(join(tmpdir(), 'spillway-records-'))

beforeAll(async () => {
  writeFileSync(join(directory, 'cert.pem'), CERT)
  writeFileSync(join(directory, 'key.pem'), KEY)
  upstream = await startUpstream()
  app = await startApp(upstream.address, { TLS_CERT: join(directory, 'cert.pem'), TLS_KEY: join(directory, 'key.pem') })
})
afterAll(async () => {
  await upstream.stop()
  await app.stop()
  rmSync(directory, { recursive: true })
})

/** Writes that wait for each other are records of their own. Those of a socket that is gone count as written. */
const written = (socket: Socket, text: string) => new Promise((resolve) => socket.write(text, resolve))

const handshakes = (result: string) => app.metric(`spillway_tls_handshakes_total{result="${result}"}`)

async function inText() {
  const client = await app.client()
  await client.hello()
  await client.startTls()
  for (const line of ['EHLO client.example', 'MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>'])
    await client.command(line)
  expect(await client.command('DATA')).toMatch(/^354/)
  return client
}

test('a message in records of one octet, far faster than the least rate, is cut off', async () => {
  const { socket } = await inText()
  const gone = new Promise((resolve) => socket.once('close', resolve))
  let sent = 0
  for (; !socket.destroyed && sent < 100_000; sent++) await written(socket, 'x')
  await gone
  expect(sent).toBeLessThan(100_000)
  expect(await app.waitForLog(({ tlsError }) => tlsError !== undefined)).toMatchObject({
    ...{ tls: 'TLSv1.3', tlsError: 'empty records', outcome: 'aborted' },
  })
  expect([await handshakes('ok'), await handshakes('empty'), await handshakes('failed')]).toEqual([1, 1, 0])
})

test('a message of 4,000 lines, each in a record of its own, is taken', async () => {
  const client = await inText()
  // The clients are looked at ten times a second.
  const enough = performance.now() + 300
  for (let sent = 0; sent < 4000 || performance.now() < enough; sent++) await written(client.socket, '0123456789\r\n')
  expect(await client.command('.')).toMatch(/^250/)
})

test('a real client that renews its key without end is cut off', async () => {
  const args = ['-connect', `127.0.0.1:${app.port}`, '-starttls', 'smtp', '-tls1_3']
  const openssl = spawn('openssl', ['s_client', ...args], { stdio: 'pipe' })
  openssl.stdin.on('error', () => undefined)
  const gone = once(openssl, 'exit')
  let updates = 0
  let said = ''
  const heard = (part: Buffer): void => {
    said += part.toString('latin1')
    // A command is what stands first in what it reads, so that each waits for the one before.
    const isReady =
      updates > 0 ? said.includes('KEYUPDATE') : said.includes('Verify return code') && /^250 /m.test(said)
    if (!isReady) return
    said = ''
    updates++
    openssl.stdin.write('K\n')
  }
  openssl.stdout.on('data', heard)
  openssl.stderr.on('data', heard)
  await gone
  expect(updates).toBeGreaterThan(1000)
  expect(updates).toBeLessThan(100_000)
  // It sent no text in all that time, so it left nothing else that could have ended it.
  await eventually(
    () => handshakes('empty'),
    (count) => count === 2,
  )
})
