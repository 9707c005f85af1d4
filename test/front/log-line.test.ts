/** What the log says of a session that was turned away, so that "why was I refused?" has an answer. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { readId } from '../../src/core/id.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

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
    for (const node of [app, other]) {
      for (let i = 0; i < 50; i++) {
        const client = await node.client('127.0.7.10')
        await client.reply()
        ids.add(/\(([0-9A-Z]{11})/.exec(await client.command('FOO'))?.[1] ?? '')
        client.destroy()
      }
    }
    expect(ids.size).toBe(100)
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
