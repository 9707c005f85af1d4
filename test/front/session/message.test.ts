/** From DATA to the reply to the dot: what ends a message, what of it arrives, and who hears what when somebody leaves. */
import { Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import fc from 'fast-check'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { startUpstream, type Upstream, type UpstreamConnection } from '../../support/upstream.ts'

const SMALL = 3000
let upstream: Upstream
let app: TestApp

beforeAll(async () => {
  upstream = await startUpstream({ extensions: ['PIPELINING', `SIZE ${SMALL}`, '8BITMIME'] })
  app = await startApp(upstream.address)
})
beforeEach(() => {
  upstream.script = undefined
})
afterAll(async () => {
  await upstream.stop()
  await app.stop()
})
/** Everybody goes, so that the next one can count from nothing. */
const allGone = async (): Promise<void> => {
  for (const client of clients.splice(0)) client.destroy()
  await eventually(
    () => app.metric('spillway_connections_open{family="ipv4"}'),
    (open) => open === 0,
  )
}
const clients: Client[] = []

/** A client that has heard 354. */
async function inData(on: TestApp = app, from = 'a@example.org'): Promise<Client> {
  const client = await on.client()
  clients.push(client)
  await client.hello()
  await client.command(`MAIL FROM:<${from}>`)
  await client.command('RCPT TO:<b@example.net>')
  const reply = await client.command('DATA')
  // R7: no enhanced code.
  if (reply !== '354 End data with <CR><LF>.<CR><LF>') throw new Error(reply)
  return client
}
const lastBody = () => upstream.bodies().at(-1)?.toString('latin1')
/** The upstream's connection on which `from` is the sender. */
const of = (from: string): UpstreamConnection | undefined =>
  upstream.connections.findLast(({ lines }) => lines.includes(`MAIL FROM:<${from}>`))
const gone = (from: string) =>
  eventually(
    () => of(from)?.closed,
    (closed) => closed === true,
  )

test('the log line says how far the session came', async () => {
  const client = await app.client()
  await client.hello()
  expect(await client.send('far@example.org', 'b@example.net')).toMatch(/^250/)
  await client.command('QUIT')
  const line = await app.waitForLog(({ from }) => from === '***@example.org')
  expect(line).toMatchObject({ outcome: 'relayed', stage: 'data', messageCount: 1, sample: 1 })
})

describe('the end of data', () => {
  // CVE-2023-51764, 51765, 51766: each of these has ended a message somewhere.
  const ENDS: Readonly<Record<string, string>> = {
    'LF.LF': '\n.\n',
    'LF.CRLF': '\n.\r\n',
    'CRLF.LF': '\r\n.\n',
    'CR.CR': '\r.\r',
    'CR.CRLF': '\r.\r\n',
    'CRLF.CR': '\r\n.\r',
    'CRCRLF.CRLF': '\r\r\n.\r\r\n',
    'CRLF.CRCRLF': '\r\n.\r\r\n',
    'NUL before the dot': '\r\n\0.\r\n',
    'NUL behind the dot': '\r\n.\0\r\n',
    'NUL in the line end': '\r\n.\r\0\n',
    'a space behind the dot': '\r\n. \r\n',
  }
  const SMUGGLED = 'MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nevil\r\n'

  test.each(Object.entries(ENDS))('R26 %s never ends a message: one in is one out', async (_, end) => {
    const client = await inData()
    const before = upstream.bodies().length
    client.write(`first${end}${SMUGGLED}.\r\n`)
    expect(await client.reply()).toMatch(/^250 2\.0\.0/)
    expect(upstream.bodies()).toHaveLength(before + 1)
    const body = lastBody() as string
    expect(body).toContain('MAIL FROM:<evil@example.org>')
    // Nothing in it may end it for somebody who reads bare newlines as line ends.
    expect(body).not.toMatch(/(^|[\r\n])\.[\r\n]/)
    expect(of('evil@example.org')).toBeUndefined()
    // R14: the next reply is to the next command, not to a smuggled one.
    expect(await client.command('NOOP')).toMatch(/^250/)
  })

  test('R26 an empty message is a dot at once', async () => {
    const client = await inData()
    client.write('.\r\n')
    expect(await client.reply()).toMatch(/^250/)
    expect(lastBody()).toBe('')
  })

  test('R26 dots that lines begin with do not end it', async () => {
    const client = await inData()
    const body = '..\r\n...\r\n..x\r\n x\r\n..\r\n'
    client.write(`${body}.\r\n`)
    expect(await client.reply()).toMatch(/^250/)
    expect(lastBody()).toBe(body)
  })

  test('R28 any body, however it is cut, arrives byte for byte', async () => {
    const piece = fc.constantFrom('\r\n', '..', '\r\n..', 'x', '\0', '\xff', ' ', 'a longer piece of text', '\r\n\r\n')
    const client = await app.client()
    clients.push(client)
    await client.hello()
    let count = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 20 }),
        async (pieces, cuts) => {
          // What a client may send: every line that begins with a dot has it doubled.
          const text = `${pieces.join('')}x\r\n`.replace(/(^|\r\n)\.(?!\.)/g, '$1..')
          if (count++ > 0) await client.command('RSET')
          await client.command('MAIL FROM:<a@example.org>')
          await client.command('RCPT TO:<b@example.net>')
          await client.command('DATA')
          const wire = `${text}.\r\nNOOP\r\n`
          let at = 0
          for (const cut of cuts) {
            client.write(wire.slice(at, at + cut))
            at += cut
            await new Promise((resolve) => setImmediate(resolve))
          }
          client.write(wire.slice(at))
          expect(await client.reply()).toMatch(/^250 2\.0\.0 Ok: queued/)
          expect(await client.reply()).toBe('250 2.0.0 Ok')
          expect(lastBody()).toBe(text)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('R27 bare newlines are set right, and counted', async () => {
    const client = await inData()
    const [lf, cr] = [
      await app.metric('spillway_bare_newlines_total{kind="lf"}'),
      await app.metric('spillway_bare_newlines_total{kind="cr"}'),
    ]
    client.write('a\nb\rc\r\n.\n\n.\r\nend\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250/)
    expect(lastBody()).toBe('a\r\nb c\r\n..\r\n\r\n..\r\nend\r\n')
    expect(await app.metric('spillway_bare_newlines_total{kind="lf"}')).toBe((lf as number) + 3)
    expect(await app.metric('spillway_bare_newlines_total{kind="cr"}')).toBe((cr as number) + 1)
  })

  test('R27 or are 550 5.5.2, the upstream gets no dot, and the session goes on', async () => {
    const strict = await startApp(upstream.address, { BARE_NEWLINE: 'reject' })
    try {
      const client = await inData(strict, 'bare@example.org')
      client.write('a\nb\r\n.\r\n')
      expect(await client.reply()).toMatch(/^550 5\.5\.2 \[127\.0\.0\.1\] .*\([0-9A-Z]{13}\)$/)
      await gone('bare@example.org')
      expect(upstream.bodies().filter((body) => body.includes('a\nb'))).toHaveLength(0)
      expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      expect(await strict.metric('spillway_bare_newlines_total{kind="lf"}')).toBe(1)
      expect(
        await strict.metric(
          'spillway_refusals_total{stage="data",reason="bare_newline",action="reject",mode="enforce"}',
        ),
      ).toBe(1)
    } finally {
      await strict.stop()
    }
  })
})

describe('size', () => {
  const row = 'spillway_refusals_total{stage="data",reason="size",action="reject",mode="enforce"}'

  test('R16 a declared size over the limit is 552 at MAIL; one below passes on its parameter', async () => {
    const client = await app.client()
    clients.push(client)
    await client.hello()
    expect(await client.command(`MAIL FROM:<a@example.org> SIZE=${SMALL + 1}`)).toMatch(/^552 5\.3\.4 /)
    expect(await client.command(`MAIL FROM:<size@example.org> SIZE=${SMALL}`)).toMatch(/^250/)
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
    expect(upstream.lastMailed()?.lines).toContain(`MAIL FROM:<size@example.org> SIZE=${SMALL}`)
  })

  test('R16 a message that outgrows it is 552 behind its dot, the upstream is left without one', async () => {
    const before = (await app.metric(row)) as number
    const client = await inData(app, 'grows@example.org')
    client.write(`${'x'.repeat(SMALL + 100)}\r\n`)
    await gone('grows@example.org')
    client.write('.\r\n')
    expect(await client.reply()).toMatch(/^552 5\.3\.4 \[127\.0\.0\.1\] Message is larger than we take/)
    expect(upstream.bodies().filter((body) => body.length > SMALL)).toHaveLength(0)
    expect(await app.metric(row)).toBe(before + 1)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  })

  test('R16 one past twice the limit hears 552 at once, and is closed', async () => {
    const client = await inData()
    client.write('x'.repeat(2 * SMALL + 1))
    expect(await client.reply()).toMatch(/^552 5\.3\.4/)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
  })

  test('R16 exactly the limit passes', async () => {
    const client = await inData()
    client.write(`${'x'.repeat(SMALL - 2)}\r\n.\r\n`)
    expect(await client.reply()).toMatch(/^250/)
    expect(lastBody()).toHaveLength(SMALL)
  })

  test('R16 R47 a limit that shrinks holds for no session that was told another: 451, and 552 in the next', async () => {
    const extensions = ['PIPELINING', 'SIZE 100000']
    const other = await startUpstream({ extensions })
    const changing = await startApp(other.address)
    try {
      const client = await inData(changing)
      client.write(`${'x'.repeat(500)}\r\n`)
      const first = await changing.client()
      await first.hello()
      extensions[1] = 'SIZE 100'
      const second = await changing.client()
      await second.hello()
      await eventually(
        () => second.command('EHLO again'),
        (reply) => reply.includes('SIZE 100\r\n') || reply.endsWith('SIZE 100'),
      )
      client.write(`${'x'.repeat(500)}\r\n.\r\n`)
      expect(await client.reply()).toMatch(/^250/)
      expect(await first.command('MAIL FROM:<a@example.org> SIZE=101')).toMatch(/^250/)
      expect(await first.command('RCPT TO:<b@example.net>')).toMatch(/^451 4\.3\.0 /)
      expect(await first.command('RSET')).toMatch(/^250/)
      expect(await first.command('MAIL FROM:<a@example.org> SIZE=100001')).toMatch(/^552/)
      expect(await second.command('MAIL FROM:<a@example.org> SIZE=101')).toMatch(/^552/)
    } finally {
      await changing.stop()
      await other.stop()
    }
  })

  test('in observe mode it is counted, and left to the upstream', async () => {
    const watched = await startApp(upstream.address, { OBSERVE: 'size' })
    try {
      const client = await inData(watched)
      client.write(`${'x'.repeat(SMALL)}\r\n.\r\n`)
      expect(await client.reply()).toMatch(/^250/)
      expect(await watched.metric(row.replace('enforce', 'observe'))).toBe(1)
      expect(await watched.metric(row)).toBe(0)
    } finally {
      await watched.stop()
    }
  })
})

describe('somebody leaves', () => {
  const open = () => app.metric('spillway_connections_open{family="ipv4"}')
  const isZero = (value: number | undefined) => value === 0
  beforeEach(allGone)

  test.each([
    ['with a reset', (client: Client) => client.resetConnection()],
    ['by closing', (client: Client) => client.end()],
  ])('R29 the client %s before the dot: the upstream is closed without one', async (how, leave) => {
    const from = `${how.replaceAll(' ', '')}@example.org`
    const client = await inData(app, from)
    client.write('Subject: x\r\n\r\nhalf a mess')
    await eventually(
      () => of(from)?.partial.toString(),
      (text) => text?.endsWith('mess') === true || text?.includes('half') === true,
    )
    leave(client)
    await gone(from)
    expect(upstream.bodies().filter((body) => body.includes('half a mess'))).toHaveLength(0)
    expect(of(from)?.lines).not.toContain('QUIT')
    await eventually(open, isZero)
    const line = await app.waitForLog(
      (each) => JSON.stringify(each.from) === '"***@example.org"' && each.outcome === 'aborted',
    )
    expect(line.messages).toMatchObject([{ result: 'aborted', upstream: upstream.address }])
  })

  test.each([
    ['250 2.0.0 queued as LATE', 'relayed', 'accepted'],
    ['550 5.7.1 spam, LATE', 'rejected', 'rejected'],
    ['452 4.3.1 full, LATE', 'shed', 'deferred'],
  ])(
    'R31 R33 the client leaves behind the dot, answered by %s: its seat is free at once, the log says %s',
    async (reply, outcome, result) => {
      const from = `${result}@late.example`
      let answer: (text: string) => void = () => undefined
      const before = upstream.bodies().length
      upstream.script = (verb) => (verb === 'DOT' ? new Promise((resolve) => (answer = resolve)) : 'default')
      const client = await inData(app, from)
      client.write('Subject: x\r\n\r\nx\r\n.\r\n')
      await eventually(
        () => upstream.bodies().length,
        (count) => count === before + 1,
      )
      expect(await open()).toBe(1)
      client.end()
      await eventually(open, isZero)
      expect(of(from)?.closed).toBe(false)
      expect(await app.metric(`spillway_upstream_connections_open{upstream="${upstream.address}"}`)).toBeGreaterThan(0)
      const late = (each: Record<string, unknown>) =>
        JSON.stringify(each.messages ?? '').includes(`"result":"${result}","left"`)
      expect(app.log().some(late)).toBe(false)
      answer(reply)
      const line = await app.waitForLog(late)
      expect(line).toMatchObject({
        outcome,
        messages: [{ result, reply: expect.stringContaining('LATE'), left: true }],
      })
      expect(await app.metric(`spillway_messages_client_left_total{result="${result}"}`)).toBe(1)
      await client.closed()
    },
  )

  test.each([
    ['the reply to the dot', 'DOT', 'DATA\r\nx\r\n.\r\n'],
    ['the reply to RCPT', 'RCPT', ''],
  ])(
    'R31 R42 a client that is reset while it waits for %s frees its seat, whatever it has pipelined',
    async (_, verb, data) => {
      const asked = new Promise<void>((resolve) => {
        upstream.script = (said) => {
          if (said !== verb) return 'default'
          resolve()
          return 'silence'
        }
      })
      const client = await app.client()
      clients.push(client)
      client.write(`EHLO x\r\nMAIL FROM:<many@more.example>\r\nRCPT TO:<b@example.net>\r\n${data}`)
      await asked
      // More than all buffers hold, until nothing of it is taken any more: from then on the client is not read.
      for (let i = 0; i < 256; i++) client.write('NOOP\r\n'.repeat(10_000))
      const waiting: number[] = []
      await eventually(
        () => {
          waiting.push(client.socket.writableLength)
          return waiting.slice(-10)
        },
        (last) => last.length === 10 && new Set(last).size === 1,
      )
      expect(waiting.at(-1)).toBeGreaterThan(0)
      client.resetConnection()
      await eventually(open, isZero)
    },
  )

  test('R14 R42 a client that has said QUIT behind the dot and closed its side waits for its answers, as Exim does', async () => {
    let answer: (text: string) => void = () => undefined
    const before = upstream.bodies().length
    const left = await app.metric('spillway_messages_client_left_total{result="accepted"}')
    upstream.script = (verb) => (verb === 'DOT' ? new Promise((resolve) => (answer = resolve)) : 'default')
    const client = await app.client()
    clients.push(client)
    client.write('EHLO x\r\nMAIL FROM:<one@write.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n')
    client.end()
    await eventually(
      () => upstream.bodies().length,
      (count) => count === before + 1,
    )
    expect(await open()).toBe(1)
    answer('250 2.0.0 fine')
    expect(await client.closed()).toMatch(/250 2\.0\.0 fine\r\n221 2\.0\.0 .*\r\n$/)
    await eventually(open, isZero)
    const line = await app.waitForLog((each) => each.from === '***@write.example')
    expect(line).toMatchObject({ outcome: 'relayed', messages: [{ result: 'accepted' }] })
    expect(await app.metric('spillway_messages_client_left_total{result="accepted"}')).toBe(left)
  })

  test('R30 the upstream leaves before the dot: 451, and the client may try again in the same session', async () => {
    const client = await inData(app, 'early@example.org')
    client.write('Subject: x\r\n\r\n')
    await eventually(
      () => of('early@example.org')?.partial.length ?? 0,
      (length) => length > 0,
    )
    // It is closed when Spillway, which has seen the end, has closed its side as well.
    of('early@example.org')?.socket.end()
    await gone('early@example.org')
    client.write('the rest\r\n.\r\n')
    expect(await client.reply()).toMatch(/^451 4\.3\.0 /)
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  })

  test('R30 R33 the upstream leaves behind the dot: 451, the doubt is counted', async () => {
    upstream.script = (verb, _, connection) => {
      if (verb !== 'DOT') return 'default'
      connection.socket.destroy()
      return 'silence'
    }
    const client = await inData(app, 'doubt@example.org')
    client.write('x\r\n.\r\n')
    expect(await client.reply()).toMatch(/^451 4\.3\.0 /)
    expect(await app.ofAnybody('spillway_messages_total', 'result="unknown"')).toBe(1)
  })

  test("R33 the client hears the upstream's no", async () => {
    upstream.script = (verb) => (verb === 'DOT' ? '554 5.7.1 spam' : 'default')
    const client = await inData()
    client.write('x\r\n.\r\n')
    expect(await client.reply()).toMatch(/^554 5\.7\.1 spam \([0-9A-Z]{13}\)$/)
    expect(await client.command('QUIT')).toMatch(/^221/)
  })
})

test('R34 a session of many messages has one idle timer, not one for each', async () => {
  const sockets = new Set<Socket>()
  const original = Socket.prototype.setTimeout
  const watch = jest.spyOn(Socket.prototype, 'setTimeout').mockImplementation(function (this: Socket, ...given) {
    sockets.add(this)
    return original.apply(this, given)
  })
  try {
    const client = await app.client()
    await client.hello()
    for (let i = 0; i < 12; i++) expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    const ours = [...sockets].filter(({ localPort }) => localPort === app.port)
    expect(ours.map((socket) => socket.listenerCount('timeout'))).toEqual([1])
  } finally {
    watch.mockRestore()
  }
})

test('R42 a client that leaves while 354 is awaited is counted once, as aborted', async () => {
  let go: (said: string) => void = () => undefined
  let asked: () => void = () => undefined
  const heard = new Promise<void>((resolve) => {
    asked = resolve
  })
  const slow = await startUpstream({
    script: (verb) => {
      if (verb !== 'DATA') return 'default'
      asked()
      return new Promise<string>((resolve) => {
        go = resolve
      })
    },
  })
  const other = await startApp(slow.address)
  try {
    const client = await other.client()
    await client.hello()
    await client.command('MAIL FROM:<left@example.org>')
    await client.command('RCPT TO:<b@example.net>')
    client.write('DATA\r\n')
    await heard
    client.resetConnection()
    await eventually(
      () => other.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
    go('354 go ahead')
    const line = await other.waitForLog(({ msg }) => msg === 'session')
    expect(line).toMatchObject({ outcome: 'aborted', messageCount: 1 })
    expect(await other.ofAnybody('spillway_messages_total', 'result="aborted"')).toBe(1)
    expect(await other.ofAnybody('spillway_messages_total', 'result="deferred"')).toBe(0)
  } finally {
    await slow.stop()
    await other.stop()
  }
})
