/** What a client hears to each command, on real sockets, with a scripted mail server behind. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { freePorts } from '../../services/ports.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const ID = /\([0-9A-HJKMNP-TV-Z]{13}\)$/
let upstream: Upstream
let app: TestApp

beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address)
})
beforeEach(() => {
  upstream.script = undefined
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

const greeted = async () => {
  const client = await app.client()
  await client.hello()
  return client
}
/** Mail servers' view: all lines of connections that heard MAIL, but for those of the greeting. */
const heard = () => upstream.mailed().flatMap(({ lines }) => lines.filter((line) => !/^(EHLO|QUIT|RSET)/.test(line)))

describe('greeting', () => {
  test('R7 R9 220 and EHLO name the same host, without enhanced codes', async () => {
    const client = await app.client()
    expect(await client.reply()).toBe('220 mx.test.example ESMTP Spillway')
    const ehlo = await client.command('EHLO client.example')
    expect(ehlo.split('\r\n')).toEqual([
      '250-mx.test.example',
      '250-PIPELINING',
      '250-SIZE 10000000',
      '250-ENHANCEDSTATUSCODES',
      '250-8BITMIME',
      '250-DSN',
      '250 SMTPUTF8',
    ])
    expect(await client.command('HELO client.example')).toBe('250 mx.test.example')
    expect(await client.command('QUIT')).toBe('221 2.0.0 mx.test.example closing connection')
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
  })

  test('R17 R20 R21 R22 R23 what is not done is not offered', async () => {
    const client = await app.client()
    expect(await client.hello()).not.toMatch(/CHUNKING|REQUIRETLS|LIMITS|STARTTLS|AUTH|XCLIENT|VRFY|ETRN/)
  })

  test.each(['EHLO', 'EHLO ', 'HELO', 'EHLO: a', 'EHLO a\0b', `EHLO ${'x'.repeat(256)}`])(
    'R7 %j is 501 without an enhanced code',
    async (line) => {
      const client = await app.client()
      await client.reply()
      expect(await client.command(line)).toMatch(/^501 Syntax/)
      expect(await client.command('MAIL FROM:<a@example.org>')).toMatch(/^503 5\.5\.1/)
    },
  )

  test('commands out of order are 503, and the session goes on', async () => {
    const client = await app.client()
    await client.reply()
    for (const line of ['MAIL FROM:<a@example.org>', 'RCPT TO:<b@example.net>', 'DATA']) {
      expect(await client.command(line)).toMatch(/^503 5\.5\.1/)
    }
    await client.command('EHLO x')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^503/)
    expect(await client.command('MAIL FROM:<a@example.org>')).toBe('250 2.1.0 Ok')
    expect(await client.command('MAIL FROM:<a@example.org>')).toMatch(/^503/)
    expect(await client.command('DATA now')).toMatch(/^501/)
    // EHLO ends a transaction as RSET does (RFC 5321 section 4.1.4).
    await client.command('EHLO x')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^503/)
  })
})

describe('command lines', () => {
  test('R24 a line too long is 500, and the session goes on', async () => {
    const client = await greeted()
    expect(await client.command(`NOOP ${'x'.repeat(500)}`)).toMatch(/^250/)
    // Extensions make MAIL and RCPT longer, and nothing else.
    expect(await client.command(`MAIL FROM:<${'x'.repeat(600)}@example.org>`)).toMatch(/^250/)
    expect(await client.command(`RCPT TO:<${'x'.repeat(1200)}@example.net>`)).toMatch(/^500 5\.5\.2/)
    const refused = await client.command(`NOOP ${'x'.repeat(510)}`)
    expect(refused).toMatch(/^500 5\.5\.2 \[127\.0\.0\.1\] Command line too long/)
    expect(refused).toMatch(ID)
    expect(await client.command('NOOP')).toMatch(/^250/)
    expect(
      await app.metric('spillway_refusals_total{stage="mail",reason="line_too_long",action="reject",mode="enforce"}'),
    ).toBeGreaterThan(0)
  })

  test('R24 one line of 64 MB costs no memory, and what comes behind its end is heard', async () => {
    const client = await greeted()
    const before = process.memoryUsage()
    const part = Buffer.alloc(1 << 20, 'x')
    for (let i = 0; i < 64; i++) {
      if (!client.socket.write(part)) await new Promise((resolve) => client.socket.once('drain', resolve))
    }
    client.write('\r\nNOOP\r\n')
    expect(await client.reply()).toMatch(/^500 5\.5\.2/)
    expect(await client.reply()).toMatch(/^250/)
    const after = process.memoryUsage()
    expect(after.heapUsed - before.heapUsed).toBeLessThan(32 << 20)
  })

  test('R46 lower case, bare LF and a space behind the colon are understood', async () => {
    const client = await app.client()
    await client.reply()
    client.write('ehlo me\nmail from: <a@example.org>\nrcpt to: <b@example.net>\nquit\n')
    expect(await client.reply()).toMatch(/^250-/)
    for (const code of ['250', '250', '221']) expect((await client.reply()).slice(0, 3)).toBe(code)
  })
})

describe('parameters', () => {
  test('R18 R19 R46 go upstream as they came, in the case they came, with UTF-8 byte for byte', async () => {
    const client = await greeted()
    const local = Buffer.from('jürgen', 'utf8').toString('latin1')
    const mail = `mail FROM:<${local}@example.org> sIZE=123 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159`
    const rcpt = `RCPT to:<${local}@example.net>  NOTIFY=SUCCESS,DELAY ORCPT=rfc822;J+C3+BCrgen@example.net`
    expect(await client.command(mail)).toMatch(/^250/)
    expect(await client.command(rcpt)).toMatch(/^250/)
    const canonical = `RCPT TO:<${local}@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;J+C3+BCrgen@example.net`
    expect(upstream.lastMailed()?.lines.slice(-2)).toEqual([mail.replace('mail FROM', 'MAIL FROM'), canonical])
  })

  test('R38 the upstream hears the name the client said', async () => {
    const client = await app.client()
    await client.hello('[192.0.2.99]')
    await client.send('a@example.org', 'b@example.net')
    expect(upstream.lastMailed()?.lines).toContain('EHLO [192.0.2.99]')
  })

  test('R38 a name in UTF-8 reaches it whole, also one whose last octet is A0', async () => {
    const name = Buffer.from('mx-à', 'utf8').toString('latin1')
    const client = await app.client()
    await client.hello(`${name}  `)
    await client.send('a@example.org', 'b@example.net')
    expect(upstream.lastMailed()?.lines).toContain(`EHLO ${name}`)
  })

  test.each([
    ['MAIL FROM:<a@example.org> FOO=BAR', 555],
    ['MAIL FROM:<a@example.org> REQUIRETLS', 555],
    ['MAIL FROM:<a@example.org> BODY=BINARYMIME', 504],
    ['MAIL FROM:<a@example.org> BODY', 501],
    ['MAIL FROM:<a@example.org> SIZE=1 SIZE=2', 501],
    ['MAIL FROM:<a@example.org> SIZE=many', 501],
    ['MAIL FROM:<a@example.org> SMTPUTF8=yes', 501],
    ['MAIL FROM:<a@example.org>SIZE=1', 501],
    ['MAIL FROM:<a@example.org', 501],
    ['MAIL FROM:<a@exam\0ple.org>', 501],
    ['MAIL FROM:<a@example.org>\rRCPT TO:<b@example.net>', 501],
  ])('R44 %j is %i at once, with the id', async (line, code) => {
    const client = await greeted()
    const reply = await client.command(line)
    expect(reply).toMatch(new RegExp(`^${code} 5\\.`))
    expect(reply).toMatch(ID)
    expect(heard()).not.toContain(line)
  })

  test.each([
    ['RCPT TO:<>', 501],
    ['RCPT TO:<b@example.net> NOTIFY=NEVER,SUCCESS', 501],
    ['RCPT TO:<b@example.net> SIZE=1', 555],
  ])('R44 %j is %i and the others go on', async (line, code) => {
    const client = await greeted()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command(line)).toMatch(new RegExp(`^${code} 5\\.`))
    expect(await client.command('RCPT TO:<"b>c d"@example.net>')).toMatch(/^250/)
  })
})

describe('replies to recipients', () => {
  const answers: Readonly<Record<string, string>> = {
    good: '250 2.1.5 Ok',
    slow: '450 4.2.1 try later',
    never: '550 5.7.1 not you',
    busy: '452 4.2.2 full',
  }
  const byName: Upstream['script'] = (verb, line) =>
    verb === 'RCPT' ? (answers[/<([a-z]+)/.exec(line)?.[1] ?? ''] ?? 'default') : 'default'

  test('R3 R12 one to one; only the accepted get the message; a refusal poisons no other', async () => {
    upstream.script = byName
    const client = await greeted()
    const names = ['never', 'good', 'slow', 'good', 'busy']
    client.write(
      `MAIL FROM:<a@example.org>\r\n${names.map((name) => `RCPT TO:<${name}@example.net>\r\n`).join('')}DATA\r\n`,
    )
    const replies: string[] = []
    for (let i = 0; i < 7; i++) replies.push((await client.reply()).slice(0, 9))
    expect(replies).toEqual(['250 2.1.0', '550 5.7.1', '250 2.1.5', '450 4.2.1', '250 2.1.5', '452 4.2.2', '354 End d'])
    client.write('Subject: x\r\n\r\nx\r\n.\r\n')
    expect(await client.reply()).toBe('250 2.0.0 Ok: queued as SCRIPTED')
  })

  test.each([
    [['never', 'never'], /^554 5\.5\.1 No valid recipients/],
    [['never', 'slow'], /^451 4\.5\.0 No recipient was accepted for now/],
    [[], /^554 5\.5\.1/],
  ])(
    'R12 every RCPT of %j failed: DATA is %s, the connection is usable, no DATA goes upstream',
    async (names, reply) => {
      upstream.script = byName
      const client = await greeted()
      await client.command('MAIL FROM:<nobody@example.org>')
      for (const name of names) expect(await client.command(`RCPT TO:<${name}@example.net>`)).toMatch(/^[45]/)
      const data = await client.command('DATA')
      expect(data).toMatch(reply)
      expect(data).toMatch(ID)
      expect(await client.send('a@example.org', 'good@example.net')).toMatch(/^250/)
      const last = upstream.lastMailed()?.lines ?? []
      expect(last.filter((line) => line === 'DATA')).toHaveLength(1)
    },
  )

  test('R6 the id at DATA names why its own recipients were refused, not what came before', async () => {
    upstream.script = byName
    const client = await greeted()
    const reasonIn = (reply: string) => /\(\w{11}(\w\w)\)$/.exec(reply)?.[1]
    const tooLarge = await client.command('MAIL FROM:<a@example.org> SIZE=99999999')
    expect(tooLarge).toMatch(/^552/)
    await client.command('MAIL FROM:<a@example.org>')
    await client.command('RCPT TO:<never@example.net>')
    const data = await client.command('DATA')
    expect(data).toMatch(/^554 5\.5\.1/)
    expect([reasonIn(tooLarge), reasonIn(data)]).toEqual(['0C', '00'])
  })

  test("R6 an upstream's refusal has the session's id, and R44 its 421 is 451 to the client", async () => {
    upstream.script = (verb) => (verb === 'RCPT' ? '421 4.3.2 shutting down' : 'default')
    const client = await greeted()
    await client.command('MAIL FROM:<a@example.org>')
    const reply = await client.command('RCPT TO:<b@example.net>')
    expect(reply).toMatch(/^451 4\.3\.2 shutting down \(/)
    expect(reply).toMatch(ID)
    expect(await client.command('NOOP')).toMatch(/^250/)
  })

  test('R6 R18 what a mail server says reaches the client as text, in lines it has to read, UTF-8 only with SMTPUTF8', async () => {
    const utf8 = Buffer.from('jürgen', 'utf8').toString('latin1')
    upstream.script = (verb) =>
      verb === 'RCPT' ? `250-2.1.5 \x1b[2J\0${utf8}\r.\r\n250 2.1.5 ${'x'.repeat(3000)}\r\n` : 'default'
    const client = await greeted()
    const cut = `250 2.1.5 ${'x'.repeat(500)}`
    await client.command('MAIL FROM:<a@example.org>')
    expect((await client.command('RCPT TO:<b@example.net>')).split('\r\n')).toEqual(['250-2.1.5 ?[2J?j?rgen?.', cut])
    await client.command('RSET')
    await client.command('MAIL FROM:<a@example.org> SMTPUTF8')
    const said = await client.command('RCPT TO:<b@example.net>')
    expect(said.split('\r\n')).toEqual([`250-2.1.5 ?[2J?${utf8}?.`, cut])
  })

  test('R3 a hundred recipients are taken, and a thousand by default', async () => {
    const client = await greeted()
    await client.command('MAIL FROM:<a@example.org>')
    client.write(Array.from({ length: 1001 }, (_, i) => `RCPT TO:<u${i}@example.net>\r\n`).join(''))
    for (let i = 0; i < 1000; i++) expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(/^452 4\.5\.3 /)
    expect(await client.command('DATA')).toMatch(/^354/)
  })
})

describe('pipelining', () => {
  const SESSION = [
    'EHLO client.example',
    'MAIL FROM:<a@example.org>',
    'RCPT TO:<b@example.net>',
    'DATA',
    'Subject: one\r\n\r\n..dot\r\n.',
    'MAIL FROM:<>',
    'RCPT TO:<c@example.net>',
    'DATA',
    'Subject: two\r\n\r\nbody\r\n.',
    'RSET',
    'QUIT',
    'NOOP',
    '',
  ].join('\r\n')
  const CODES = ['220', '250', '250', '250', '354', '250', '250', '250', '354', '250', '250', '221']
  const codes = async (client: Awaited<ReturnType<typeof app.client>>) => {
    const seen: string[] = []
    for (let i = 0; i < CODES.length; i++) seen.push((await client.reply()).slice(0, 3))
    return seen
  }
  /** Bodies that the mail server has heard since: it may hear them on a connection that is older than others. */
  const heardSince = () => {
    const before = new Set(upstream.bodies())
    return () =>
      upstream
        .bodies()
        .filter((body) => !before.has(body))
        .map((body) => body.toString())
  }
  const BODIES = ['Subject: one\r\n\r\n..dot\r\n', 'Subject: two\r\n\r\nbody\r\n']

  test('R14 a whole session in one write: replies in order, nothing lost, nothing behind QUIT', async () => {
    const bodies = heardSince()
    const client = await app.client()
    client.write(SESSION)
    expect(await codes(client)).toEqual(CODES)
    expect(await client.closed()).toBe('')
    expect(client.wasReset).toBe(false)
    expect(bodies()).toEqual(BODIES)
  })

  test('R14 R42 the same from a client that has closed its side already', async () => {
    const bodies = heardSince()
    const client = await app.client()
    client.write(SESSION)
    client.end()
    expect(await codes(client)).toEqual(CODES)
    expect(await client.closed()).toBe('')
    expect(bodies()).toEqual(BODIES)
  })

  test('R14 R28 the same byte by byte', async () => {
    const bodies = heardSince()
    const client = await app.client()
    for (const byte of Buffer.from(SESSION, 'latin1')) {
      client.socket.write(Buffer.from([byte]))
      if (byte === 10 || byte === 46) await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await codes(client)).toEqual(CODES)
    expect(bodies()).toEqual(BODIES)
  })

  test('R14 what is said before the greeting is heard after it', async () => {
    const client = await app.client()
    client.write('EHLO early.example\r\nQUIT\r\n')
    expect((await client.reply()).slice(0, 3)).toBe('220')
    expect((await client.reply()).slice(0, 4)).toBe('250-')
    expect((await client.reply()).slice(0, 3)).toBe('221')
  })
})

describe('what EHLO offers', () => {
  test('R15 what every upstream offers, learned and refreshed, with the smallest SIZE', async () => {
    const one = await startUpstream({ extensions: ['PIPELINING', 'SIZE 5000', '8BITMIME', 'DSN', 'XSOMETHING'] })
    const rich = ['PIPELINING', 'SIZE', '8BITMIME', 'SMTPUTF8', 'CHUNKING', 'ENHANCEDSTATUSCODES']
    const two = await startUpstream({ extensions: rich })
    const pair = await startApp(`${one.address},${two.address}`)
    try {
      const client = await pair.client()
      expect((await client.hello()).split('\r\n').slice(1)).toEqual(['250-PIPELINING', '250-SIZE 5000', '250 8BITMIME'])
      expect(await client.command('MAIL FROM:<a@example.org> RET=FULL')).toMatch(/^555/)
      expect(await client.command('MAIL FROM:<a@example.org> SIZE=5001')).toMatch(/^552 5\.3\.4/)
      await one.stop()
      const offer = await eventually(
        () => client.command('EHLO again'),
        (reply) => reply.includes('SMTPUTF8'),
      )
      expect(offer.split('\r\n').slice(1)).toEqual([
        '250-PIPELINING',
        '250-SIZE',
        '250-ENHANCEDSTATUSCODES',
        '250-8BITMIME',
        '250 SMTPUTF8',
      ])
    } finally {
      await pair.stop()
      await one.stop()
      await two.stop()
    }
  })

  test('R1 R15 R44 holds for the session: what a mail server that came up since does not offer is 451, never 555', async () => {
    const rich = await startUpstream()
    const [host, port] = ['127.0.0.1', await freePorts(1)] as const
    const pair = await startApp(`${rich.address},${host}:${port[0]}`)
    const poor = await startUpstream({ extensions: ['PIPELINING'], port: port[0] as number })
    try {
      const client = await pair.client()
      expect(await client.hello()).toContain('DSN')
      const later = await pair.client()
      await later.hello()
      await eventually(
        () => later.command('EHLO again'),
        (reply) => !reply.includes('DSN'),
      )
      expect(await later.command('MAIL FROM:<a@example.org> RET=FULL')).toMatch(/^555 /)
      expect(await client.command('MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME RET=FULL')).toMatch(/^250/)
      expect(await client.command('RCPT TO:<b@example.net> NOTIFY=NEVER')).toMatch(/^250/)
      expect(await client.command('RSET')).toMatch(/^250/)
      await rich.stop()
      expect(await client.command('MAIL FROM:<a@example.org> RET=FULL')).toMatch(/^250/)
      expect(await client.command('RCPT TO:<b@example.net> NOTIFY=NEVER')).toMatch(/^451 /)
      expect(poor.mailed()).toEqual([])
    } finally {
      await pair.stop()
      await rich.stop()
      await poor.stop()
    }
  })

  test('R1 R15 with no upstream ever up nothing is assumed, and a recipient is 451, never 5yz', async () => {
    const alone = await startApp('127.0.0.1:1')
    try {
      const client = await alone.client()
      expect((await client.hello()).split('\r\n')).toEqual(['250-mx.test.example', '250 PIPELINING'])
      expect(await client.command('MAIL FROM:<a@example.org>')).toMatch(/^250/)
      expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451 4\.3\.2 mx\.test\.example /)
      expect(await client.command('DATA')).toMatch(/^451/)
      expect(await client.command('QUIT')).toMatch(/^221/)
    } finally {
      await alone.stop()
    }
  })
})
