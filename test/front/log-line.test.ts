/** What the log says of a session that was turned away, so that "why was I refused?" has an answer. */

import { createHmac } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { hash } from '../../src/cli/hash.ts'
import { load } from '../../src/config/load.ts'
import type { Client } from '../../src/core/client.ts'
import { readId } from '../../src/core/id.ts'
import { type OutcomeOptions, Outcomes } from '../../src/front/outcome.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { eventually, startApp, type TestApp, testSources } from '../support/app.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address, { LIMIT_IP_MESSAGES: '1/1h' })
})
beforeEach(() => {
  upstream.script = undefined
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

test('of a flood that is put off at RCPT the first twenty in a second have a line, and the weights add up', async () => {
  const source = '127.0.7.7'
  const first = await app.client(source)
  await first.hello()
  expect(await first.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  await first.command('QUIT')
  const SESSIONS = 150
  for (let i = 0; i < SESSIONS; i++) {
    const client = await app.client(source)
    client.write('EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nQUIT\r\n')
    await client.closed()
    client.destroy()
  }
  const lines = app.log().filter(({ reason }) => reason === 'ip_messages')
  expect(lines.length).toBeLessThan(SESSIONS)
  expect(lines.length).toBeGreaterThanOrEqual(20)
  // What no line stands for yet comes with the next, or at the end.
  const weight = lines.reduce((sum, { sample }) => sum + Number(sample), 0)
  expect(weight).toBeLessThanOrEqual(SESSIONS)
  // The one that was sent on is there, whatever the flood does.
  expect(app.log().filter(({ outcome, ip }) => outcome === 'relayed' && ip === source)).toHaveLength(1)
}, 20_000)

/** Sessions that the lines stand for, by what `key` makes of a line. */
function weights(
  lines: readonly Record<string, unknown>[],
  key: (line: Record<string, unknown>) => string,
): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const line of lines) {
    if (line.sample !== undefined) sums[key(line)] = (sums[key(line)] ?? 0) + Number(line.sample)
  }
  return sums
}

/** Says it, hears the answers, and leaves. */
async function visit(node: TestApp, says: string): Promise<void> {
  const client = await node.client()
  expect(await client.reply()).toMatch(/^220/)
  client.write(says)
  const inDialogue = !says.endsWith('QUIT\r\n') && says.startsWith('EHLO')
  const answers = inDialogue ? (says.match(/^(EHLO|MAIL|RCPT|DATA)/gm) ?? []).length : 0
  for (let i = 0; i < answers; i++) await client.reply()
  client.end()
  await client.closed()
}
const kind = ({ reason, outcome, stage }: Record<string, unknown>) => String(reason ?? `${outcome} ${stage}`)

test('of a flood that brings no mail, whatever it does, few lines are written, and the weights add up exactly', async () => {
  upstream.script = (verb, line) => {
    if (verb === 'RCPT' && line.includes('<no')) return '550 5.1.1 no such user'
    if (verb === 'RCPT' && line.includes('<later')) return '450 4.2.1 greylisted'
    return 'default'
  }
  const node = await startApp(upstream.address, {
    LIMIT_IP_CONNECTIONS: 'off',
    LIMIT_NET_CONNECTIONS: 'off',
    LIMIT_IP_UNKNOWN_RECIPIENTS: 'off',
    UNKNOWN_GUARD: 'off',
  })
  ends.push(() => node.stop())
  const to = (address: string, then = 'QUIT\r\n') =>
    `EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<${address}>\r\n${then}`
  const flood: [sessions: number, kind: string, says: string][] = [
    [300, 'none connect', ''],
    [200, 'rejected rcpt', to('no@example.net')],
    [100, 'shed rcpt', to('later@example.net')],
    [100, 'none helo', 'EHLO c.example\r\nFOO\r\nQUIT\r\n'],
    [60, 'aborted rcpt', to('b@example.net', '')],
    // The client leaves before its dot: nothing can be delivered.
    [60, 'aborted data', to('b@example.net', 'DATA\r\nSubject: x\r\n')],
    [60, 'junk', 'FOO\r\n'.repeat(30)],
  ]
  const began = performance.now()
  for (const [sessions, , says] of flood) {
    for (let batch = 0; batch < sessions; batch += 20) {
      await Promise.all(Array.from({ length: 20 }, () => visit(node, says)))
    }
  }
  // In the middle of it, what is relayed always has its line.
  for (let i = 0; i < 5; i++) {
    const honest = await node.client('127.0.7.20')
    await honest.hello()
    expect(await honest.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    await honest.command('QUIT')
  }
  const lines = (await node.ended()).filter(({ sample }) => sample !== undefined)
  const expected = Object.fromEntries(flood.map(([sessions, name]) => [name, sessions]))
  expect(weights(lines, kind)).toEqual({ ...expected, 'relayed data': 5 })
  // Twenty in each second, and what is left over in one line at the end.
  const most = 20 * (Math.floor((performance.now() - began) / 1000) + 2) + 1
  for (const [, name] of flood) expect(lines.filter((line) => kind(line) === name).length).toBeLessThanOrEqual(most)
  expect(lines.filter((line) => kind(line) === 'none connect').length).toBeLessThan(300)
  expect(lines.filter(({ outcome, ip }) => outcome === 'relayed' && ip === '127.0.7.20')).toHaveLength(5)
}, 60_000)

test('R30 what may have been delivered always has its line', async () => {
  upstream.script = (verb, _line, connection) => {
    if (verb !== 'DOT') return 'default'
    connection.socket.destroy()
    return 'silence'
  }
  const node = await startApp(upstream.address, { LOG_SAMPLE: '1000000' })
  ends.push(() => node.stop())
  const client = await node.client()
  await client.hello()
  expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^451/)
  client.end()
  const line = await node.waitForLog(({ msg }) => msg === 'session')
  expect(line).toMatchObject({ sample: 1, messages: [{ result: 'unknown' }] })
})

test('a refusal keeps its own stage, whatever is said after it', async () => {
  const client = await app.client('127.0.7.8')
  await client.hello()
  await client.send('a@example.org', 'b@example.net')
  await client.command('MAIL FROM:<a@example.org>')
  expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^450/)
  // R12, and the reason stands in this id as well: it may be the one that a bounce shows.
  const data = await client.command('DATA')
  expect(data).toMatch(/^451 4\.5\.0/)
  expect(readId(/\(([0-9A-Z]{13})\)/.exec(data)?.[1] ?? '')?.reason).toBe('ip_messages')
  await client.command('RSET')
  await client.command('QUIT')
  const line = await app.waitForLog(({ ip }) => ip === '127.0.7.8')
  expect(line).toMatchObject({ stage: 'rcpt', reason: 'ip_messages', code: 450 })
})

test('what an upstream said when it refused stands in the line, with its name', async () => {
  upstream.script = (verb) => (verb === 'RCPT' ? '550 5.7.1 blocked sender, see example.com/why' : 'default')
  const client = await app.client('127.0.7.9')
  await client.hello()
  const heard = await client.send('a@example.org', 'b@example.net')
  expect(heard).toMatch(/^550 5\.7\.1 blocked sender/)
  await client.command('QUIT')
  const line = await app.waitForLog(({ ip }) => ip === '127.0.7.9')
  expect(line).toMatchObject({
    outcome: 'rejected',
    messages: [{ result: 'rejected', upstream: upstream.address, reply: heard }],
  })
})

test('two nodes of one name give different ids', async () => {
  const other = await startApp(upstream.address)
  try {
    const ids = new Set<string>()
    // Their sequences begin at random: of few ids none are the same but once in thousands of runs.
    for (const node of [app, other]) {
      for (let i = 0; i < 5; i++) {
        const client = await node.client('127.0.7.10')
        await client.reply()
        ids.add(/\(([0-9A-Z]{11})/.exec(await client.command('FOO'))?.[1] ?? '')
        client.destroy()
      }
    }
    expect(ids.size).toBe(10)
  } finally {
    await other.stop()
  }
})

test('RFC 1870 dots that are there for transparency do not count to the size', async () => {
  const small = await startUpstream({ extensions: ['PIPELINING', 'SIZE 1000'] })
  const node = await startApp(small.address)
  try {
    const client = await node.client()
    await client.hello()
    // 300 lines of one dot and CRLF: 900 octets, 1,200 on the wire.
    expect(await client.send('a@example.org', 'b@example.net', '..\r\n'.repeat(300))).toMatch(/^250/)
    expect(await client.send('a@example.org', 'b@example.net', '..\r\n'.repeat(400))).toMatch(/^552/)
  } finally {
    await node.stop()
    await small.stop()
  }
})

test('R25 refusals without end are a budget as well', async () => {
  const node = await startApp(upstream.address, { RCPT_DOMAINS: 'example.net' })
  try {
    const client = await node.client()
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    client.write('RCPT TO:<b@foreign.example>\r\n'.repeat(1005))
    for (let i = 0; i < 1000; i++) expect(await client.reply()).toMatch(/^550 5\.7\.1/)
    expect(await client.reply()).toMatch(/^421 4\.7\.0/)
    expect(await client.closed()).toBe('')
  } finally {
    await node.stop()
  }
})

test('of an address of any length, the first 256 octets stand in the line', async () => {
  const client = await app.client('127.0.7.12')
  await client.hello()
  await client.command('MAIL FROM:<a@example.org>')
  await client.command(`RCPT TO:<b@${'long.'.repeat(80)}example>`)
  await client.command('QUIT')
  const { rcpts } = await app.waitForLog(({ ip }) => ip === '127.0.7.12')
  expect(rcpts).toEqual([{ code: 250, to: `***@${'long.'.repeat(80)}`.slice(0, 3 + 255) }])
})

test('with a key an address can be looked for in the lines, and is still not in them', async () => {
  const KEY = '0123456789abcdef01234567'
  const node = await startApp(upstream.address, { LOG_SAMPLE: '1' })
  ends.push(() => node.stop())
  const says =
    'EHLO c.example\r\nMAIL FROM:<Ann.Smith@Example.org>\r\nRCPT TO:<bob@example.net>\r\nRCPT TO:<Postmaster>\r\nQUIT\r\n'
  const lineOf = async (count: number): Promise<Record<string, unknown>> => {
    await visit(node, says)
    const lines = await eventually(
      () => node.log().filter(({ msg }) => msg === 'session'),
      (found) => found.length === count,
    )
    return lines.at(-1) as Record<string, unknown>
  }
  expect(JSON.stringify(await lineOf(1))).not.toContain('Hmac')
  expect(await node.reload({ LOG_SAMPLE: '1', LOG_HMAC_KEY: KEY })).toMatchObject({ result: 'ok' })
  const line = await lineOf(2)
  const hmac = (text: string) => createHmac('sha256', KEY).update(text).digest('hex').slice(0, 16)
  expect(line).toMatchObject({
    from: '***@Example.org',
    fromHmac: hmac('ann.smith@example.org'),
    rcpts: [
      { to: '***@example.net', toHmac: hmac('bob@example.net'), code: 250 },
      { to: 'Postmaster', toHmac: hmac('postmaster'), code: 250 },
    ],
  })
  expect(JSON.stringify(line)).not.toMatch(/smith|bob/i)
  // Nothing of the key is told where the change of settings is.
  expect(JSON.stringify(node.log())).not.toContain(KEY)
  const loaded = load(testSources('127.0.0.1:1', { LOG_HMAC_KEY: KEY }))
  expect(hash(loaded, '<ANN.smith@example.org>', { json: false })).toEqual({ code: 0, output: `${line.fromHmac}\n` })
})

test('the null sender has no HMAC; hash says what it cannot do', async () => {
  const node = await startApp(upstream.address, { LOG_SAMPLE: '1', LOG_HMAC_KEY: 'a-key-of-some-length-0123' })
  ends.push(() => node.stop())
  await visit(node, 'EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\nQUIT\r\n')
  const [line] = await eventually(
    () => node.log().filter(({ msg }) => msg === 'session'),
    ({ length }) => length === 1,
  )
  expect(line).toMatchObject({ from: '', rcpts: [{ toHmac: expect.stringMatching(/^[0-9a-f]{16}$/) }] })
  expect(line).not.toHaveProperty('fromHmac')
  const loaded = load(testSources('127.0.0.1:1'))
  expect(hash(loaded, 'bob', { json: false })).toMatchObject({
    code: 64,
    output: expect.stringContaining('is no address'),
  })
  expect(hash(loaded, 'bob@example.net', { json: false })).toMatchObject({
    code: 1,
    output: expect.stringContaining('LOG_HMAC_KEY'),
  })
  expect(() => load(testSources('127.0.0.1:1', { LOG_HMAC_KEY: 'short' }))).toThrow(
    /at least 24 visible[\s\S]*openssl rand/,
  )
  expect(() => load(testSources('127.0.0.1:1', { LOG_HMAC_KEY: 'short' }))).not.toThrow(/short\b(?! one)/)
})

test('no HMAC is made for sessions that the sample passes over', () => {
  let asked = 0
  const outcomes = new Outcomes({
    metrics: createMetrics({ version: 'x', upstreams: [] }),
    log: { info: () => undefined, flush: () => undefined } as unknown as Log,
    logSample: () => 10,
    localParts: () => false,
    hmacKey: () => {
      asked++
      return 'a-key'
    },
    clock: { elapsed: () => 0 },
    traffic: { ended: () => undefined, recipient: () => undefined, knownRefused: () => undefined },
  } as unknown as OutcomeOptions)
  const client = { id: '3MFK2D0R9A0', ip: '192.0.2.1', family: 4, standing: 'new' } as unknown as Client
  for (let i = 0; i < 20; i++) {
    const record = outcomes.begin(client)
    record.from = 'a@b.example'
    outcomes.recipient(record, 'c@d.example', 450)
    outcomes.tell(record, client)
  }
  // Two lines, of two addresses each.
  expect(asked).toBe(4)
})
