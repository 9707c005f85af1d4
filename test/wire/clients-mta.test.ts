// Mail servers that send what they have queued, through Spillway into a real Postfix: everything arrives, once, unchanged.

import { afterEach, expect, test } from '@jest/globals'
import { startExim } from '../services/exim.ts'
import { startPostfix } from '../services/postfix.ts'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { type Mail, mails, onTheWire, SENDER, startPath } from './clients-mail.ts'

const ANNA = 'anna@example.test'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** Puts messages into the queue of a server, over connections of its own. */
async function queue(port: number, sent: readonly Mail[], connections: number): Promise<void> {
  await Promise.all(
    Array.from({ length: connections }, async (_, first) => {
      const client = await connectClient(port)
      await client.hello()
      for (let at = first; at < sent.length; at += connections) {
        client.write(`MAIL FROM:<${SENDER}> BODY=8BITMIME\r\nRCPT TO:<${ANNA}>\r\nDATA\r\n`)
        for (const good of ['250', '250', '354']) expect(await client.reply(15_000)).toMatch(new RegExp(`^${good}`))
        client.write(`${onTheWire(sent[at] as Mail)}.\r\n`)
        expect(await client.reply(15_000)).toMatch(/^250/)
      }
      await client.command('QUIT')
      client.end()
    }),
  )
}

test('Postfix with five hundred queued messages', async () => {
  const path = await startPath([ANNA])
  ends.push(path.stop)
  const sender = await startPostfix({ sendTo: path.spillway.port })
  ends.push(sender.stop)
  const sent = mails(500, 'postfix')
  await queue(sender.port(), sent, 20)
  expect(path.postfix.messages(ANNA)).toEqual([])
  sender.release()
  await path.expectEachOnce(sent, ANNA)
  const statuses = () => [...sender.log().matchAll(/postfix\/smtp\[\d+\]: .*status=(\w+)/g)].map(([, status]) => status)
  await eventually(statuses, (found) => found.length >= sent.length)
  expect(new Set(statuses())).toEqual(new Set(['sent']))
  expect(statuses()).toHaveLength(sent.length)
}, 120_000)

test('Exim with two hundred queued messages, its queue run by four at once', async () => {
  const path = await startPath([ANNA])
  ends.push(path.stop)
  const sender = await startExim({ sendTo: path.spillway.port })
  ends.push(sender.stop)
  const sent = mails(200, 'exim')
  const batch = sent.map(
    ({ text }) => `MAIL FROM:<${SENDER}>\nRCPT TO:<${ANNA}>\nDATA\n${text.replace(/^\./gm, '..')}.\n`,
  )
  const { code, output } = await sender.run(['-bS', '-odq'], Buffer.from(batch.join(''), 'latin1'))
  expect({ code, output }).toEqual({ code: 0, output: '' })
  await Promise.all(Array.from({ length: 4 }, () => sender.run(['-qff'], undefined, 60_000)))
  await path.expectEachOnce(sent, ANNA)
  expect(sender.log().match(/ Completed$/gm)).toHaveLength(sent.length)
  expect(sender.log().match(/ (?:==|\*\*) /g)).toBeNull()
}, 120_000)

/** Each test of how a client talks is enforced as hard as it can be. */
const STRICT = {
  ...{ PREGREET: 'reject', GREETING_DELAY: '1s', PIPELINING: 'reject', HELO: 'reject' },
  ...{ TONGUE: 'reject', COMMAND_NEWLINE: 'reject' },
}

/** What a strict Spillway has refused or put off, and how many clients it has kept waiting. */
const strangersMet = async ({ spillway }: Awaited<ReturnType<typeof startPath>>) => {
  const { body } = await spillway.get('/metrics')
  const refusals = body.split('\n').filter((line) => /^spillway_refusals_total\{.* [1-9]/.test(line))
  const waited = spillway.log().filter(({ msg, ms }) => msg === 'session' && (ms as { total: number }).total >= 1000)
  return { refusals, waited: waited.length }
}

test('R50 Postfix through every test of how a client talks: nothing is put off, and it waits once', async () => {
  const path = await startPath([ANNA], STRICT)
  ends.push(path.stop)
  const sender = await startPostfix({ sendTo: path.spillway.port })
  ends.push(sender.stop)
  const sent = mails(40, 'postfix')
  // The first comes alone, and so is the one that waits.
  await queue(sender.port(), sent.slice(0, 1), 1)
  sender.release()
  await eventually(
    () => path.postfix.messages(ANNA).length,
    (found) => found === 1,
  )
  await queue(sender.port(), sent.slice(1), 4)
  sender.release()
  await path.expectEachOnce(sent, ANNA)
  expect(await strangersMet(path)).toEqual({ refusals: [], waited: 1 })
  expect(sender.log()).not.toMatch(/status=(?:deferred|bounced)/)
}, 60_000)

test('R50 Exim through every test of how a client talks: nothing is put off', async () => {
  const path = await startPath([ANNA], STRICT)
  ends.push(path.stop)
  const sender = await startExim({ sendTo: path.spillway.port })
  ends.push(sender.stop)
  const sent = mails(20, 'exim')
  const batch = sent.map(
    ({ text }) => `MAIL FROM:<${SENDER}>\nRCPT TO:<${ANNA}>\nDATA\n${text.replace(/^\./gm, '..')}.\n`,
  )
  await sender.run(['-bS', '-odq'], Buffer.from(batch.join(''), 'latin1'))
  await sender.run(['-qff'], undefined, 60_000)
  await path.expectEachOnce(sent, ANNA)
  expect((await strangersMet(path)).refusals).toEqual([])
  expect(sender.log().match(/ (?:==|\*\*) /g)).toBeNull()
}, 60_000)

test('a Postfix that keeps its connections hangs up on them, and what it brings again has come back nevertheless', async () => {
  const level = { OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s', OVERLOAD_RETURN_AFTER: '1s' }
  const path = await startPath([ANNA], level)
  ends.push(path.stop)
  const params = { smtp_connection_cache_destinations: 'static:all', smtp_connection_cache_time_limit: '1s' }
  const sender = await startPostfix({ sendTo: path.spillway.port, params })
  ends.push(sender.stop)
  const sessions = () => path.spillway.log().filter(({ msg, from }) => msg === 'session' && from !== undefined)
  const [first] = mails(1, 'kept')
  await queue(sender.port(), [first as Mail], 1)
  sender.release()
  const [{ ms, ...line } = {}] = await eventually(sessions, (found) => found.length === 1)
  expect(line).toMatchObject({ reason: 'overload', came: 'first' })
  // It has kept the connection for a second.
  expect((ms as { total: number }).total).toBeGreaterThanOrEqual(900)
  // It tries again and again; what comes too soon does not count.
  const backIn = 'spillway_rationed_messages_total{came="back",result="let_in"}'
  await eventually(
    () => {
      sender.flush()
      return path.spillway.metric(backIn)
    },
    (count) => count === 1,
  )
  await eventually(
    () => path.postfix.messages(ANNA).length,
    (found) => found === 1,
  )
}, 60_000)

test('a Postfix of which something speaks against it has five messages of one sender put off at MAIL, and all of them come back at its next try', async () => {
  const level = { OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s', OVERLOAD_RETURN_AFTER: '1s' }
  const path = await startPath([ANNA], level)
  ends.push(path.stop)
  // HELO is only observed, and then such a client comes last.
  // It tries again when it is told to, and not in between.
  const patient = { queue_run_delay: '300s', minimal_backoff_time: '300s' }
  const sender = await startPostfix({ sendTo: path.spillway.port, params: { smtp_helo_name: 'localhost', ...patient } })
  ends.push(sender.stop)
  const count = (came: string) =>
    path.spillway.metric(`spillway_rationed_messages_total{came="${came}",result="put_off"}`)
  // The share goes to others, that come first.
  const others = await path.spillway.client()
  await others.hello()
  for (let i = 0; i < 40; i++) {
    await others.command(`MAIL FROM:<${i}@other.example>`)
    await others.command(`RCPT TO:<${ANNA}>`)
    await others.command('RSET')
  }
  const before = (await count('first')) as number
  const cameAt = Date.now()
  await queue(sender.port(), mails(5, 'queued'), 5)
  // Shares follow each second.
  await eventually(Date.now, (at) => at > cameAt + 1200)
  sender.release()
  sender.flush()
  const lines = () => path.spillway.log().filter(({ msg, doubtful }) => msg === 'session' && doubtful === 'yes')
  await eventually(
    () => count('first'),
    (found) => found === before + 5,
  )
  const sentAt = Date.now()
  const stages = await eventually(lines, (found) => found.length > 0)
  expect(new Set(stages.map(({ stage }) => stage))).toEqual(new Set(['mail']))
  // Not too soon: they count a second later.
  await eventually(Date.now, (at) => at > sentAt + 2500)
  sender.flush()
  expect(
    await eventually(
      () => count('back'),
      (found) => found === 5,
    ),
  ).toBe(5)
}, 60_000)
