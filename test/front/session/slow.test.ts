/** What a client can do by going on slowly, or without end: nothing for long, and nothing to others. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from '@jest/globals'
import type { Settings } from '../../../src/config/settings.ts'
import { CERT, KEY } from '../../config/pem.ts'
import { runProgram } from '../../services/processes.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { type Client, connectClient } from '../../support/client.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let spillway: TestApp
afterEach(async () => {
  await spillway?.stop()
  await upstream?.stop()
})

async function start(changed: Partial<Settings>, settings: Record<string, string> = {}): Promise<void> {
  upstream = await startUpstream()
  spillway = await startApp(upstream.address, settings, (same) => ({ ...same, ...changed }))
}

/** Writes byte by byte until the other side has something to say. */
async function dribble(client: Client, text: string, everyMs: number): Promise<string> {
  let at = 0
  const timer = setInterval(() => client.write(text[at++ % text.length] as string), everyMs)
  try {
    return await client.reply(8000)
  } finally {
    clearInterval(timer)
  }
}
const opened = async (client?: Client): Promise<Client> => {
  client ??= await spillway.client()
  await client.hello()
  expect(await client.command('MAIL FROM:<a@sender.example>')).toMatch(/^250/)
  expect(await client.command('RCPT TO:<b@example.test>')).toMatch(/^250/)
  return client
}
const allBack = async (): Promise<void> => {
  for (const gauge of [
    'spillway_connections_open{family="ipv4"}',
    `spillway_upstream_connections_open{upstream="${upstream.address}"}`,
  ]) {
    await eventually(
      () => spillway.metric(gauge),
      (open) => open === 0,
    )
  }
}

describe('R34 a byte now and then is no sign of life', () => {
  test('in a command line: 421 4.4.2 when it is not whole in time, though no silence was ever as long', async () => {
    await start({ idleTimeout: 400 })
    const client = await spillway.client()
    await client.hello()
    const began = performance.now()
    expect(await dribble(client, 'x', 50)).toMatch(/^421 4\.4\.2 mx\.test\.example .*Nothing heard for too long/)
    expect(performance.now() - began).toBeGreaterThan(390)
    expect(performance.now() - began).toBeLessThan(2000)
    await client.closed()
    expect(
      await spillway.metric('spillway_refusals_total{stage="helo",reason="idle",action="drop",mode="enforce"}'),
    ).toBe(1)
    await allBack()
  })

  test('in a line that is too long already', async () => {
    await start({ idleTimeout: 400 })
    const client = await spillway.client()
    await client.hello()
    client.write('x'.repeat(5000))
    expect(await dribble(client, 'x', 50)).toMatch(/^421 4\.4\.2 /)
  })
})

describe('R22 a TLS handshake', () => {
  test.each([
    ['in silence', []],
    // A record of 16 KiB, byte by byte.
    ['byte by byte', [22, 3, 1, 63, 255]],
  ])('has to be whole in time: %s', async (_, bytes) => {
    const directory = mkdtempSync(join(tmpdir(), 'spillway-tls-'))
    writeFileSync(join(directory, 'cert.pem'), CERT)
    writeFileSync(join(directory, 'key.pem'), KEY)
    await start({ idleTimeout: 400 }, { TLS_CERT: join(directory, 'cert.pem'), TLS_KEY: join(directory, 'key.pem') })
    rmSync(directory, { recursive: true })
    const client = await spillway.client()
    await client.hello()
    const began = performance.now()
    expect(await client.command('STARTTLS')).toMatch(/^220/)
    const typed = [...bytes, ...(bytes.length > 0 ? Array<number>(200).fill(0) : [])]
    const timer = setInterval(() => {
      const next = typed.shift()
      if (next !== undefined) client.write(Buffer.of(next))
    }, 50)
    await client.closed(8000).finally(() => clearInterval(timer))
    expect(performance.now() - began).toBeGreaterThan(390)
    expect(performance.now() - began).toBeLessThan(2000)
    expect(await spillway.metric('spillway_tls_handshakes_total{result="timeout"}')).toBe(1)
    // Nobody was told anything: there is no refusal in the log.
    const line = await spillway.waitForLog(({ msg }) => msg === 'session')
    expect(line).toMatchObject({ outcome: 'none', tlsError: 'timeout' })
    expect(line.reason).toBeUndefined()
    await allBack()
  })
})

test('R34 a client that reads a little of its replies now and then is let go in time, with all it holds', async () => {
  const narrow = join(import.meta.dirname, '../../fuzz/narrow.sh')
  const script = join(import.meta.dirname, 'hardly-reads.ts')
  const { output } = await runProgram(['sh', narrow, process.execPath, script], {
    env: { ...process.env, RECEIVE: '4096' },
  })
  const { ms, slots, reason } = JSON.parse(output)
  // Whom nobody lets go the script gives up after ten.
  expect(ms).toBeLessThan(8000)
  expect({ slots, reason }).toEqual({ slots: 0, reason: 'idle' })
})

describe('R13 a message has a least rate', () => {
  test('below it: 421 4.4.2, the upstream sees no dot, and its connection is free at once, before the client closes', async () => {
    await start({ idleTimeout: 300, minDataRate: 1_000_000 })
    // The patience in a message is a minute whatever IDLE_TIMEOUT says: spent here at once by a clock that is moved on.
    const client = await opened(await connectClient(spillway.port, { holdsOn: true }))
    expect(await client.command('DATA')).toMatch(/^354/)
    const real = performance.now
    performance.now = () => real.call(performance) + 61_000
    try {
      client.write('Subject: slow\r\n')
      expect(await client.reply()).toMatch(/^421 4\.4\.2 .*The message came too slowly/)
    } finally {
      performance.now = real
    }
    await eventually(
      () => spillway.metric(`spillway_upstream_connections_open{upstream="${upstream.address}"}`),
      (open) => open === 0,
    )
    expect(await spillway.metric('spillway_connections_open{family="ipv4"}')).toBe(1)
    client.destroy()
    expect(upstream.bodies()).toEqual([])
    expect(await spillway.metric('spillway_messages_total{result="aborted",standing="new"}')).toBe(1)
    expect(
      await spillway.metric('spillway_refusals_total{stage="data",reason="slow_data",action="drop",mode="enforce"}'),
    ).toBe(1)
    await allBack()
  })
})

test('S7 who types byte by byte gets a quarter of the upstream connections at most; who does not finds the others', async () => {
  await start({}, { UPSTREAM_MAX_CONNECTIONS: '4' })
  const real = performance.now
  const slowly = async (): Promise<string> => {
    const client = await spillway.client()
    await client.hello()
    client.write('MAIL FROM:<slow@')
    // What is typed in between takes six seconds by the clock that counts.
    await eventually(
      () => client.socket.writableLength,
      (left) => left === 0,
    )
    expect(await spillway.metric('spillway_connections_open{family="ipv4"}')).toBeGreaterThan(0)
    performance.now = () => real.call(performance) + 6000
    try {
      expect(await client.command('sender.example>')).toMatch(/^250/)
    } finally {
      performance.now = real
    }
    return client.command('RCPT TO:<b@example.test>')
  }
  expect(await slowly()).toMatch(/^250/)
  expect(await slowly()).toMatch(/^451 4\.3\.2 .*Busy/)
  for (let i = 0; i < 3; i++) await opened()
})

describe('R2 a session has an end', () => {
  test('in time: the next command hears 421 4.4.2', async () => {
    await start({ sessionMaxTime: 200 })
    const client = await spillway.client()
    await client.hello()
    const ended = eventually(
      () => client.command('NOOP'),
      (reply) => reply.startsWith('421'),
    )
    expect(await ended).toMatch(/^421 4\.4\.2 .*lasted long enough/)
    await client.closed()
    await allBack()
  })

  test('in time: also in the middle of a message, which has no dot then', async () => {
    await start({ sessionMaxTime: 300 })
    const client = await opened()
    expect(await client.command('DATA')).toMatch(/^354/)
    expect(await dribble(client, 'text\r\n', 20)).toMatch(/^421 4\.4\.2 .*lasted long enough/)
    await client.closed()
    expect(upstream.bodies()).toEqual([])
    await allBack()
  })

  test('in messages: one more than it may bring hears 421 4.7.0 at MAIL; those before are delivered', async () => {
    await start({ sessionMaxMessages: 3 })
    const client = await spillway.client()
    await client.hello()
    for (let i = 0; i < 3; i++) expect(await client.send('a@sender.example', 'b@example.test')).toMatch(/^250/)
    expect(await client.command('MAIL FROM:<a@sender.example>')).toMatch(/^421 4\.7\.0 .*Enough messages/)
    await client.closed()
    expect(upstream.bodies()).toHaveLength(3)
    await allBack()
  })
})
