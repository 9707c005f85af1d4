/** From DATA to the reply to the dot: what ends a message, what of it is delivered, and who hears what when somebody leaves. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { load } from '../../../src/config/load.ts'
import { eventually, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { SERVERS } from '../servers.ts'
import { type Scripted, startScripted } from './scripted.ts'
import { ANNA, bodyOf, copies, FROM, OTTO, type Stand, settled, startStand } from './stand.ts'

/** Each of them has ended a message somewhere (CVE-2023-51764, -51765, -51766), or looks as if it might. */
const ENDS: Readonly<Record<string, string>> = {
  'LF.LF': '\n.\n',
  'LF.CRLF': '\n.\r\n',
  'CRLF.LF': '\r\n.\n',
  'LF.CR': '\n.\r',
  'CR.CR': '\r.\r',
  'CR.LF': '\r.\n',
  'CR.CRLF': '\r.\r\n',
  'CRLF.CR': '\r\n.\r',
  'CRCRLF.CRLF': '\r\r\n.\r\r\n',
  'CRLF.CRCRLF': '\r\n.\r\r\n',
  'CRLF.CRLF with NUL before the dot': '\r\n\0.\r\n',
  'CRLF.CRLF with NUL behind the dot': '\r\n.\0\r\n',
  'CRLF.CRLF with NUL in the line end': '\r\n.\r\0\n',
  'CRLF.CRLF with a space behind the dot': '\r\n. \r\n',
}
const SMUGGLED = `MAIL FROM:<evil@evil.example>\r\nRCPT TO:<${OTTO}>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n`

/** Newlines set right in the plainest way, dots for transparency taken away, and LF for the line end: as it is delivered. */
function deliveredAs(wire: string): string {
  const lines = wire
    .replace(/\r\n|\n/g, '\u{2028}')
    .replaceAll('\r', ' ')
    .split('\u{2028}')
  return lines.map((line) => (line === '.' ? line : line.replace(/^\./, ''))).join('\n')
}

/** A client that has heard 354. */
async function inData(stand: Stand, app: TestApp = stand.app, to = ANNA): Promise<Client> {
  const client = await stand.greeted(app)
  await client.command(`MAIL FROM:<${FROM}>`)
  await client.command(`RCPT TO:<${to}>`)
  expect(await client.command('DATA')).toMatch(/^354 /)
  return client
}
const results = async (app: TestApp, result: string): Promise<number> =>
  app.ofAnybody('spillway_messages_total', `result="${result}"`)

describe.each(SERVERS)('with $name', (kind) => {
  let stand: Stand
  let strict: TestApp
  beforeAll(async () => {
    stand = await startStand(kind)
    strict = await stand.another({ BARE_NEWLINE: 'reject' })
  })
  afterAll(() => stand.stop())
  /** What lies behind us on the same way is there: what was to come before it would be, too. */
  async function barrier(mark: string): Promise<void> {
    expect(await (await stand.greeted()).send(FROM, ANNA, `Subject: ${mark}\r\n\r\nx\r\n`)).toMatch(/^250/)
    await stand.delivered(ANNA, `Subject: ${mark}\n`)
  }

  test.each(Object.entries(ENDS))(
    'R26 R27 %s ends no message: one in is one out, as it was sent',
    async (name, end) => {
      const client = await inData(stand)
      const body = `first${end}${SMUGGLED}`
      client.write(`Subject: ends with ${name}!\r\n\r\n${body}.\r\nNOOP\r\n`)
      expect(await client.reply()).toMatch(kind.id)
      // The next reply is to the next command, not to a smuggled one.
      expect(await client.reply()).toBe('250 2.0.0 Ok')
      const found = await stand.delivered(ANNA, `Subject: ends with ${name}!\n`)
      expect(bodyOf(found)).toBe(kind.stored(deliveredAs(body)))
      expect(copies(stand.server, ANNA, `Subject: ends with ${name}!\n`)).toBe(1)
      expect(stand.server.messages(OTTO)).toEqual([])
      expect(stand.server.log()).not.toContain('evil@evil.example')
    },
  )

  test('R27 with reject a bare newline is 550 5.5.2, nobody gets the message, and the session goes on', async () => {
    const client = await stand.greeted(strict)
    const bare = { lf: 'a\nb\r\n', cr: 'a\rb\r\n', 'lf.': 'a\n.\r\nb\r\n', 'cr at the end': 'a\r\r\n' }
    for (const [name, body] of Object.entries(bare)) {
      const reply = await client.send(FROM, ANNA, `Subject: bare ${name}\r\n\r\n${body}`)
      expect(reply).toMatch(/^550 5\.5\.2 .*\([0-9A-Z]{13}\)$/)
    }
    expect(await client.send(FROM, ANNA, 'Subject: not so\r\n\r\nx\r\n')).toMatch(/^250/)
    await stand.delivered(ANNA, 'Subject: not so')
    for (const name of Object.keys(bare)) expect(copies(stand.server, ANNA, `Subject: bare ${name}`)).toBe(0)
    expect(await strict.metric('spillway_bare_newlines_total{kind="lf"}')).toBe(2)
    expect(await strict.metric('spillway_bare_newlines_total{kind="cr"}')).toBe(2)
  })

  test.each([1, 2, 3, 5, 64])('R28 dots are delivered as they were written, cut every %i octets', async (size) => {
    const lines = ['.', '..', '...', '.a', 'a.', '', '. ', '.\t', '', '.']
    const wire = lines.map((line) => `${line.startsWith('.') ? '.' : ''}${line}\r\n`).join('')
    const client = await inData(stand)
    const all = `Subject: dots by ${size}!\r\n\r\n${wire}.\r\nNOOP\r\n`
    for (let at = 0; at < all.length; at += size) {
      client.write(all.slice(at, at + size))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await client.reply()).toMatch(kind.id)
    expect(await client.reply()).toBe('250 2.0.0 Ok')
    expect(bodyOf(await stand.delivered(ANNA, `Subject: dots by ${size}!\n`))).toBe(`${lines.join('\n')}\n`)
  })

  test.each(['closes', 'resets'])('R29 a client that %s before its dot leaves nothing behind', async (how) => {
    const before = await results(stand.app, 'aborted')
    const client = await inData(stand)
    // The last thing that came is all but the end.
    client.write(`Subject: half a message, ${how}\r\n\r\nfirst\r\n.\r`)
    if (how === 'closes') client.end()
    else client.resetConnection()
    await eventually(
      () => results(stand.app, 'aborted'),
      (count) => count === before + 1,
    )
    await settled(stand.app)
    await barrier(`behind half a message, ${how}`)
    expect(copies(stand.server, ANNA, `Subject: half a message, ${how}`)).toBe(0)
  })

  test('R31 a client that leaves behind its dot: the message is delivered once, and its answer is recorded', async () => {
    const app = await stand.another()
    const client = await inData(stand, app)
    client.write('Subject: gone behind the dot\r\n\r\nx\r\n.\r\n')
    client.end()
    const line = await app.waitForLog(({ messageCount }) => messageCount === 1)
    expect(line.messages).toMatchObject([{ result: 'accepted', reply: expect.stringMatching(kind.id) }])
    await stand.delivered(ANNA, 'Subject: gone behind the dot')
    expect(await results(app, 'accepted')).toBe(1)
    await settled(app)
    await app.stop()
    expect(copies(stand.server, ANNA, 'Subject: gone behind the dot')).toBe(1)
  })

  test('R33 the 250 a client hears is that of its own message: twelve at once, each under its own name', async () => {
    const heard = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const client = await stand.greeted()
        const reply = await client.send(FROM, ANNA, `Subject: mine is ${i}!\r\n\r\n${i}\r\n`)
        client.destroy()
        return kind.id.exec(reply)?.[1] as string
      }),
    )
    expect(new Set(heard).size).toBe(12)
    for (const [i, id] of heard.entries()) {
      expect(String(await stand.delivered(ANNA, `Subject: mine is ${i}!\n`))).toContain(id)
    }
  })

  test.each([
    ['EHLO', []],
    ['RCPT', [`MAIL FROM:<${FROM}>`, `RCPT TO:<${ANNA}>`]],
  ])(
    'R2 R34 a client that falls silent behind %s hears 421 4.4.2 and is closed; nothing is kept for it',
    async (_, lines) => {
      const app = await stand.another({}, (settings) => ({ ...settings, idleTimeout: 250 }))
      const client = await stand.greeted(app)
      for (const line of lines) expect(await client.command(line)).toMatch(/^250/)
      expect(await client.reply()).toMatch(/^421 4\.4\.2 mx\.test\.example \[127\.0\.0\.1\] /)
      expect(await client.closed()).toBe('')
      expect(client.wasReset).toBe(false)
      await settled(app)
      await app.stop()
    },
  )

  describe('the header', () => {
    const MESSAGE = [
      'Return-Path: <somebody@else.example>',
      'Received: from first.example by second.example; Sat, 21 Nov 2026 00:00:00 +0000',
      'Received: from zero.example',
      '\tby first.example; Sat, 21 Nov 2026 00:00:00 +0000',
      'DKIM-Signature: v=1; a=rsa-sha256;',
      '  b=abc==',
      'date:Sat, 21 Nov 2026 00:00:00 +0000',
      'Message-ID: <1@sender.example>',
      'From:   Bert <bert@sender.example>',
      'X-Empty:',
      'X-8bit: gr\xc3\xbc\xc3\x9fe',
      `X-Long: ${'x'.repeat(900)}`,
    ].join('\r\n')
    const text = (mark: string): string => `${MESSAGE}\r\nSubject: ${mark}!\r\n\r\nbody  \r\n\r\n\r\nFrom here\r\n`
    const OURS =
      /^Received: from client\.example \(\[127\.0\.0\.1\]\)\n\tby mx\.test\.example \(Spillway\) with ESMTP id/gm
    /** From the first line that was ours to bring; what is above it is the server's own. */
    const whole = (message: Buffer): string => {
      const all = message.toString('latin1')
      return all.slice(all.indexOf('Received: from first.example'))
    }

    test('R35 passes as it is, and so does the body: the same as from one who sends to the server directly', async () => {
      const direct = await stand.direct()
      expect(await direct.send(FROM, ANNA, text('direct'))).toMatch(/^250/)
      const expected = whole(await stand.delivered(ANNA, 'Subject: direct!'))
      const client = await stand.greeted()
      expect(await client.send(FROM, ANNA, text('direct').replace('direct!', 'passed!'))).toMatch(/^250/)
      const passed = await stand.delivered(ANNA, 'Subject: passed!')
      expect(whole(passed)).toBe(expected.replace('direct!', 'passed!'))
      expect(String(passed)).not.toContain('Spillway')
    })

    test.each(['TRACE_HEADER=on', 'UPSTREAM_CLIENT_IP=received'])(
      'R35 with %s one Received line is on top, and none is taken away',
      async (setting) => {
        const [name = '', value = ''] = setting.split('=')
        const way = name === 'TRACE_HEADER' ? undefined : kind.ways.find(({ clientIp }) => clientIp === value)
        const app = await stand.another({ [name]: value }, undefined, way)
        const client = await stand.greeted(app)
        expect(await client.send(FROM, ANNA, text(setting))).toMatch(/^250/)
        const message = await stand.delivered(ANNA, `Subject: ${setting}!`)
        const all = message.toString('latin1')
        expect(all.match(OURS)).toHaveLength(1)
        const above = all.slice(0, all.indexOf('Received: from first.example'))
        // Only what was on top of the message before stands between ours and theirs.
        expect(above.slice(above.search(OURS)).match(/^\S/gm)?.length).toBeLessThanOrEqual(2)
        expect(all.match(/^Received: from (first|zero)\.example/gm)).toHaveLength(2)
        await app.stop()
      },
    )
  })
})

describe('with the scripted upstream that fails', () => {
  let stand: Stand
  const scripted = (): Scripted => stand.server as Scripted
  beforeAll(async () => {
    stand = await startStand({ ...(SERVERS[0] as (typeof SERVERS)[number]), start: startScripted })
  })
  afterAll(() => stand.stop())

  test('R30 it is gone before the dot: 451, and the same session may try again', async () => {
    const client = await inData(stand)
    client.write('Subject: lost\r\n\r\nfirst\r\n')
    await eventually(
      () => scripted().upstream.lastMailed()?.partial.length ?? 0,
      (length) => length > 0,
    )
    scripted().upstream.lastMailed()?.socket.destroy()
    client.write('second\r\n.\r\n')
    expect(await client.reply()).toMatch(/^451 4\.3\.0 /)
    expect(await client.send(FROM, ANNA, 'Subject: again\r\n\r\nx\r\n')).toMatch(/^250/)
    expect(copies(scripted(), ANNA, 'Subject: lost')).toBe(0)
    expect(await results(stand.app, 'unknown')).toBe(0)
  })

  test.each([
    ['it closes', undefined],
    ['it says what is no reply', 'nonsense'],
    ['its 250 is cut off', '250-2.0.0 Ok: que'],
  ])('R30 R33 behind the dot %s: 451, never 250, and the doubt is logged and counted', async (_, said) => {
    const before = await results(stand.app, 'unknown')
    scripted().fault = (verb, __, { socket }) => {
      if (verb !== 'DOT') return 'default'
      if (said === undefined) socket.destroy()
      else socket.end(said)
      return 'silence'
    }
    const client = await stand.greeted()
    expect(await client.send(FROM, ANNA)).toMatch(/^451 4\.3\.0 /)
    scripted().fault = undefined
    expect(await client.command('QUIT')).toMatch(/^221/)
    expect(await results(stand.app, 'unknown')).toBe(before + 1)
    await stand.app.waitForLog(({ messages }) => (messages as { result: string }[])?.at(-1)?.result === 'unknown')
  })

  test.each([
    ['250 2.0.0 Ok', /^451 4\.3\.0 /],
    ['552 5.2.2 Over quota', /^552 5\.2\.2 Over quota/],
  ])(
    'R33 what it says before the dot: %s is %s to the client, and nobody gets the message',
    async (early, expected) => {
      // In one write with its 354, so that it is there before the body is.
      scripted().fault = (verb) => (verb === 'DATA' ? `354 go ahead\r\n${early}\r\n` : 'default')
      const client = await inData(stand)
      scripted().fault = undefined
      client.write('Subject: early\r\n\r\nx\r\n.\r\n')
      expect(await client.reply()).toMatch(expected)
      expect(copies(scripted(), ANNA, 'Subject: early')).toBe(0)
      expect(await client.send(FROM, ANNA, 'Subject: behind early\r\n\r\nx\r\n')).toMatch(/^250/)
    },
  )

  test('R33 R32 while the answer to the dot is awaited the client hears nothing; then what the server says', async () => {
    let answer: (said: string) => void = () => undefined
    scripted().fault = (verb) => (verb === 'DOT' ? new Promise((resolve) => (answer = resolve)) : 'default')
    const client = await inData(stand)
    client.write('Subject: held\r\n\r\nx\r\n.\r\n')
    await eventually(
      () => scripted().upstream.bodies().at(-1)?.includes('Subject: held'),
      (held) => held === true,
    )
    await expect(client.reply(150)).rejects.toThrow(/no reply/)
    answer('250 2.0.0 Ok: held no longer')
    expect(await client.reply()).toBe('250 2.0.0 Ok: held no longer')
    scripted().fault = undefined
  })

  test('R32 R34 an answer to the dot is awaited for 660 s or more, silence for 10 s or more: less cannot be set', () => {
    const given = (settings: Record<string, string>) =>
      load({
        env: { SPILLWAY_UPSTREAMS: '127.0.0.1:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'none', ...settings },
        readFile: () => '',
        hostname: 'mx.test.example',
        openFiles: 20_000,
      }).settings
    expect(given({})).toMatchObject({ upstreamDataTimeout: 660_000, idleTimeout: 300_000 })
    expect(given({ SPILLWAY_UPSTREAM_DATA_TIMEOUT: '660s', SPILLWAY_IDLE_TIMEOUT: '10s' })).toBeDefined()
    expect(() => given({ SPILLWAY_UPSTREAM_DATA_TIMEOUT: '659s' })).toThrow(/SPILLWAY_UPSTREAM_DATA_TIMEOUT/)
    expect(() => given({ SPILLWAY_IDLE_TIMEOUT: '9s' })).toThrow(/SPILLWAY_IDLE_TIMEOUT/)
  })
})
