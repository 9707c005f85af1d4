import { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { SYSTEM_CLOCK } from '../../../src/core/clock.ts'
import { SmtpClient } from '../../../src/relay/smtp/smtp-client.ts'
import { UpstreamError } from '../../../src/relay/smtp/upstream-error.ts'
import { startTalker, type Talk, type Talker } from '../../support/talker.ts'

let talker: Talker
let smtp: SmtpClient
let talk: Talk
beforeEach(async () => {
  talker = await startTalker()
  smtp = await SmtpClient.open(
    { host: '127.0.0.1', port: talker.port },
    { timeoutMs: 1000, elapsed: SYSTEM_CLOCK.elapsed },
  )
  talk = await talker.next()
})
afterEach(async () => {
  smtp.destroy()
  await talker.stop()
})

/** What a promise was rejected with. */
const fault = async (promise: Promise<unknown>): Promise<UpstreamError> => {
  const error = await promise.then(
    (value) => new Error(`not rejected: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  )
  if (!(error instanceof UpstreamError)) throw error
  return error
}

describe('replies', () => {
  test('R14 answer pipelined commands in their order', async () => {
    const replies = smtp.pipeline(['MAIL FROM:<a@a.example>', 'RCPT TO:<b@b.example>', 'DATA'], 1000)
    await talk.until('MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n')
    talk.say('250 mail\r\n550 rcpt\r\n354 data\r\n')
    expect((await Promise.all(replies)).map(({ code, lines }) => `${code} ${lines}`)).toEqual([
      '250 mail',
      '550 rcpt',
      '354 data',
    ])
  })

  test('of several lines are kept as they are', async () => {
    const reply = smtp.command('EHLO x', 1000)
    talk.say('550-5.1.1 one\r\n550-\r\n550-  two \r\n550 5.1.1 three\r\n')
    expect(await reply).toEqual({ code: 550, lines: ['5.1.1 one', '', '  two ', '5.1.1 three'] })
  })

  test.each([
    ['250\r\n', { code: 250, lines: [''] }],
    ['250 bare\n', { code: 250, lines: ['bare'] }],
    ['250 gr\xfc\xdfe \xf0\x9f\r\n', { code: 250, lines: ['gr\xfc\xdfe \xf0\x9f'] }],
  ])('%j is understood', async (text, expected) => {
    const reply = smtp.command('NOOP', 1000)
    talk.say(text)
    expect(await reply).toEqual(expected)
  })

  test('in pieces, byte by byte, are whole', async () => {
    const replies = smtp.pipeline(['ONE', 'TWO'], 3000)
    for (const char of '250-a\r\n250 b\r\n451 c\r\n') {
      talk.say(char)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await Promise.all(replies)).toEqual([
      { code: 250, lines: ['a', 'b'] },
      { code: 451, lines: ['c'] },
    ])
  })

  test('8-bit commands go out byte for byte', async () => {
    void smtp.command('RCPT TO:<gr\xc3\xbc\xc3\x9fe@example.test>', 1000).catch(() => undefined)
    await talk.until('RCPT TO:<gr\xc3\xbc\xc3\x9fe@example.test>\r\n')
  })
})

describe('a part of a message', () => {
  test('and the dot right behind it are one write', async () => {
    const writes = [jest.spyOn(Socket.prototype, '_write'), jest.spyOn(Socket.prototype, '_writev' as '_write')]
    smtp.sendPart(Buffer.from('Subject: one\r\n\r\n'))
    smtp.sendPart(Buffer.from('x\r\n'))
    const reply = smtp.command('.', 1000)
    await talk.until('Subject: one\r\n\r\nx\r\n.\r\n')
    expect(writes.map(({ mock }) => mock.calls.length)).toEqual([0, 1])
    for (const write of writes) write.mockRestore()
    talk.say('250 ok\r\n')
    expect((await reply).code).toBe(250)
  })

  test('goes out by itself where nothing follows', async () => {
    smtp.sendPart(Buffer.from('Subject: one\r\n'))
    await talk.until('Subject: one\r\n')
    smtp.sendPart(Buffer.from('two\r\n'))
    await talk.until('two\r\n')
  })

  test('in any sizes arrives whole and in order, with backpressure', async () => {
    let sent = ''
    for (let i = 0; i < 200; i++) {
      const part = `${i}:${'x'.repeat((i * 977) % 40_000)}\r\n`
      sent += part
      if (!smtp.sendPart(Buffer.from(part))) await smtp.drained(1000)
    }
    smtp.send('.\r\n')
    await talk.until('\r\n.\r\n')
    expect(talk.heard === `${sent}.\r\n`).toBe(true)
  })
})

describe('what is no reply ends the connection', () => {
  test.each([
    ['garbage', 'HTTP/1.1 400 Bad Request\r\n'],
    ['a code that is none', '999 what\r\n'],
    ['a 1yz code', '150 later\r\n'],
    ['another code in a later line', '250-a\r\n550 b\r\n'],
    ['no separator', '2500\r\n'],
    ['an empty line', '\r\n'],
    ['a line of 5000 octets', `250 ${'x'.repeat(5000)}\r\n`],
    ['a line that never ends', `250 ${'x'.repeat(5000)}`],
    ['201 lines', `${'250-x\r\n'.repeat(200)}250 x\r\n`],
  ])('%s', async (_, text) => {
    const replies = smtp.pipeline(['ONE', 'TWO'], 1000)
    const faults = Promise.all(replies.map(fault))
    talk.say(text)
    expect((await faults).map(({ fault: kind }) => kind)).toEqual(['protocol', 'protocol'])
    await talk.until()
    expect(smtp.ended).toBe(true)
  })

  test('200 lines are still a reply', async () => {
    const reply = smtp.command('EHLO x', 1000)
    talk.say(`${'250-x\r\n'.repeat(199)}250 x\r\n`)
    expect((await reply).lines).toHaveLength(200)
  })

  test.each([
    ['while a reply is awaited', true],
    ['while nobody asks', false],
  ])('a flood of text %s is cut off within a bound', async (_, asked) => {
    const failed = asked ? fault(smtp.command('NOOP', 5000)) : undefined
    let sent = 0
    const block = 'x'.repeat(65_536)
    while (!talk.closed && sent < 64 * 1024 * 1024) {
      sent += block.length
      if (!talk.socket.write(block)) {
        await Promise.race([new Promise((resolve) => talk.socket.once('drain', resolve)), talk.until()])
      }
    }
    await talk.until()
    expect(smtp.ended).toBe(true)
    // What lies in the sockets' buffers comes on top of the megabyte it may keep.
    expect(sent).toBeLessThan(16 * 1024 * 1024)
    if (failed !== undefined) expect((await failed).fault).toBe('protocol')
  })
})

describe('text that no command asked for', () => {
  test('is told, whole or not', async () => {
    expect(smtp.unasked).toBe(false)
    talk.say('4')
    await seen(() => smtp.unasked)
    expect(smtp.settled).toBe(false)
  })

  test('is never taken for the reply to a later command', async () => {
    const first = smtp.command('ONE', 1000)
    talk.say('250 one\r\n250 nobody asked\r\n')
    await first
    await seen(() => smtp.unasked)
    expect((await fault(smtp.command('TWO', 1000))).fault).toBe('protocol')
    await talk.until()
    expect(talk.heard).not.toContain('TWO')
  })

  test('is the reply where it is a 421, which may come at any time', async () => {
    talk.say('421 4.4.2 timeout\r\n')
    await seen(() => smtp.unasked)
    expect(await smtp.command('MAIL FROM:<>', 1000)).toEqual({ code: 421, lines: ['4.4.2 timeout'] })
  })
})

describe('R45 every wait has an end', () => {
  test('for a reply', async () => {
    const started = performance.now()
    expect((await fault(smtp.command('NOOP', 50))).fault).toBe('timeout')
    expect(performance.now() - started).toBeLessThan(1000)
    await talk.until()
  })

  test('for the rest of a reply that comes a line at a time', async () => {
    const failed = fault(smtp.command('NOOP', 100))
    const timer = setInterval(() => talk.say('250-more\r\n'), 10)
    try {
      expect((await failed).fault).toBe('timeout')
    } finally {
      clearInterval(timer)
    }
  })

  test('for room to write', async () => {
    talk.socket.pause()
    const block = Buffer.alloc(1024 * 1024)
    while (smtp.send(block)) await new Promise((resolve) => setImmediate(resolve))
    await smtp.drained(100)
    expect(smtp.ended).toBe(true)
    expect((await fault(smtp.reply(1000))).fault).toBe('timeout')
  })

  test('for room to write, which a server that refuses instead of reading will not make', async () => {
    talk.socket.pause()
    const block = Buffer.alloc(1024 * 1024)
    while (smtp.send(block)) await new Promise((resolve) => setImmediate(resolve))
    const waiting = smtp.drained(60_000)
    talk.say('552 5.3.4 too much\r\n')
    await waiting
    expect([smtp.ended, smtp.unasked]).toEqual([false, true])
    await smtp.drained(60_000)
    expect(await smtp.reply(1000)).toMatchObject({ code: 552 })
  })

  test('none at all for the goodbye to a QUIT', async () => {
    smtp.quit()
    expect((await fault(smtp.command('NOOP', 1000))).message).toBe('we said QUIT')
    await talk.until('QUIT\r\n')
  })

  test('for a connection', async () => {
    // TEST-NET-1 goes nowhere: refused at once or never answered, according to the machine's routes.
    const failed = await fault(
      SmtpClient.open({ host: '192.0.2.1', port: 25 }, { timeoutMs: 100, elapsed: SYSTEM_CLOCK.elapsed }),
    )
    expect(['timeout', 'lost']).toContain(failed.fault)
  })
})

describe('a lost connection', () => {
  test.each([
    ['closed', () => talk.socket.end()],
    ['reset', () => talk.socket.resetAndDestroy()],
  ])('%s: all who wait hear it, and all who come later', async (_, leave) => {
    const faults = Promise.all(smtp.pipeline(['ONE', 'TWO'], 5000).map(fault))
    await talk.until('TWO')
    leave()
    expect((await faults).map(({ fault: kind }) => kind)).toEqual(['lost', 'lost'])
    expect((await fault(smtp.command('THREE', 1000))).fault).toBe('lost')
    expect(smtp.send('x')).toBe(true)
    await smtp.drained(1000)
  })

  test('refused: nobody listens', async () => {
    const { port } = talker
    await talker.stop()
    expect(
      (await fault(SmtpClient.open({ host: '127.0.0.1', port }, { timeoutMs: 1000, elapsed: SYSTEM_CLOCK.elapsed })))
        .fault,
    ).toBe('lost')
  })

  test('QUIT with a reply outstanding is a plain close: nothing may stand where a message was to be', async () => {
    const failed = fault(smtp.command('DATA', 1000))
    await talk.until('DATA\r\n')
    smtp.quit()
    expect((await failed).fault).toBe('lost')
    await talk.until()
    expect(talk.heard).toBe('DATA\r\n')
  })
})

describe('R22 STARTTLS', () => {
  test('bytes behind the 220 are injected replies: the connection ends', async () => {
    const reply = smtp.command('STARTTLS', 1000)
    talk.say('220 go ahead\r\n250-injected\r\n250 STARTTLS\r\n')
    await reply
    expect((await fault(smtp.startTls({ name: 'mx.example', verified: false }, 1000))).fault).toBe('protocol')
    await talk.until()
  })

  test.each([
    ['garbage', (to: Talk) => to.say('this is no handshake\r\n')],
    ['silence', () => undefined],
    ['a close', (to: Talk) => to.socket.end()],
  ])('a handshake answered by %s fails in time', async (_, answer) => {
    const reply = smtp.command('STARTTLS', 1000)
    talk.say('220 go ahead\r\n')
    await reply
    const failed = fault(smtp.startTls({ name: '127.0.0.1', verified: false }, 200))
    answer(talk)
    const { fault: kind, message } = await failed
    expect([kind, message.slice(0, 4)]).toEqual(['lost', 'TLS:'])
    expect(smtp.ended).toBe(true)
  })
})

/** Waits for what comes with the next bytes. */
async function seen(fits: () => boolean): Promise<void> {
  const deadline = performance.now() + 2000
  while (!fits()) {
    if (performance.now() > deadline) throw new Error('never seen')
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
