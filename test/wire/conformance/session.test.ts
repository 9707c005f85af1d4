/** The order of a session: what EHLO offers, groups of commands, long lines, budgets, TLS; in front of each mail server. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { CERT, KEY } from '../../config/pem.ts'
import { eventually, startApp } from '../../support/app.ts'
import { SERVERS } from '../servers.ts'
import { startScripted } from './scripted.ts'
import { ANNA, bodyOf, copies, DOMAIN, FROM, OTTO, type Stand, startStand } from './stand.ts'

const keywords = (ehlo: string): string[] =>
  ehlo
    .split('\r\n')
    .slice(1)
    .map((line) => line.slice(4).toUpperCase())
const names = (ehlo: string): string[] => keywords(ehlo).map((each) => each.split(/[ =]/)[0] as string)

describe.each(SERVERS)('with $name', (kind) => {
  let stand: Stand
  beforeAll(async () => {
    stand = await startStand(kind, { sizeLimit: 60_000 })
  })
  afterAll(() => stand.stop())

  test('R15 R16 R17 R20 R21 R23 EHLO offers what the server offers and can be relayed as it is, with its SIZE', async () => {
    const client = await stand.app.client()
    const ours = await client.hello()
    const theirs = await stand.offer()
    const relayed = ['SIZE', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES']
    expect(names(ours).sort()).toEqual(['PIPELINING', ...relayed.filter((each) => names(theirs).includes(each))].sort())
    expect(keywords(ours).find((each) => each.startsWith('SIZE'))).toBe(
      keywords(theirs).find((each) => each.startsWith('SIZE')),
    )
  })

  test('R14 a whole session in one write, and in small pieces: replies in order, every message delivered once', async () => {
    for (const size of [1_000_000, 7]) {
      const marks = [`Subject: whole ${size} a`, `Subject: whole ${size} b`]
      const session = [
        'EHLO client.example',
        ...marks.flatMap((mark) => [
          `MAIL FROM:<${FROM}>`,
          `RCPT TO:<${ANNA}>`,
          `RCPT TO:<nobody@${DOMAIN}>`,
          `RCPT TO:<${OTTO}>`,
          'DATA',
          `${mark}\r\n\r\nRCPT TO:<x>\r\nQUIT\r\n.`,
        ]),
        'RSET',
        'QUIT',
        'NOOP',
        '',
      ].join('\r\n')
      const client = await stand.app.client()
      for (let at = 0; at < session.length; at += size) {
        client.write(session.slice(at, at + size))
        if (size < 100) await new Promise((resolve) => setImmediate(resolve))
      }
      const codes: string[] = []
      for (let i = 0; i < 16; i++) codes.push((await client.reply()).slice(0, 3))
      expect(codes.join(' ')).toBe(`220 250 ${'250 250 550 250 354 250 '.repeat(2)}250 221`)
      expect(await client.closed()).toBe('')
      for (const mark of marks) {
        for (const to of [ANNA, OTTO]) expect(bodyOf(await stand.delivered(to, mark))).toBe('RCPT TO:<x>\nQUIT\n')
      }
    }
    for (const to of [ANNA, OTTO]) expect(copies(stand.server, to, 'Subject: whole')).toBe(4)
  })

  test('R13 what is over a limit hears it at RCPT; a message that was let in is not refused after DATA', async () => {
    const app = await stand.another({ LIMIT_IP_MESSAGES: '2/1h' })
    const [first, second] = [await stand.greeted(app), await stand.greeted(app)]
    expect(await first.command(`MAIL FROM:<${FROM}>`)).toMatch(/^250/)
    expect(await first.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
    expect(await second.send(FROM, ANNA, 'Subject: second\r\n\r\nx\r\n')).toMatch(/^250/)
    // All is used up now.
    expect(await second.command(`MAIL FROM:<${FROM}>`)).toMatch(/^250/)
    expect(await second.command(`RCPT TO:<${ANNA}>`)).toMatch(/^450 4\.7\.28/)
    expect(await second.command('DATA')).toMatch(/^451/)
    expect(await first.command('DATA')).toMatch(/^354/)
    first.write('Subject: was let in\r\n\r\nx\r\n.\r\n')
    expect(await first.reply()).toMatch(/^250/)
    await stand.delivered(ANNA, 'Subject: was let in')
    await app.stop()
  })

  test('R16 a declared size over the limit is 552 at MAIL; one that is grown is 552 behind its dot, and nobody gets it', async () => {
    const client = await stand.greeted()
    expect(await client.command(`MAIL FROM:<${FROM}> SIZE=60001`)).toMatch(/^552 5\.3\.4 /)
    const text = (octets: number) => `Subject: grown ${octets}\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(octets / 100)}`
    expect(await client.command(`MAIL FROM:<${FROM}> SIZE=50000`)).toMatch(/^250/)
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
    await client.command('DATA')
    client.write(`${text(50_000)}.\r\n`)
    expect(await client.reply()).toMatch(/^250/)
    expect(await client.send(FROM, ANNA, text(80_000))).toMatch(/^552 5\.3\.4 /)
    // The session goes on, up to twice the limit.
    expect(await client.send(FROM, ANNA, 'Subject: behind 552\r\n\r\nx\r\n')).toMatch(/^250/)
    for (const line of [`MAIL FROM:<${FROM}>`, `RCPT TO:<${ANNA}>`, 'DATA']) await client.command(line)
    client.write(text(130_000))
    expect(await client.reply()).toMatch(/^552 5\.3\.4 /)
    expect(await client.closed()).toBe('')
    await stand.delivered(ANNA, 'Subject: grown 50000')
    await stand.delivered(ANNA, 'Subject: behind 552')
    for (const octets of [80_000, 130_000]) expect(copies(stand.server, ANNA, `Subject: grown ${octets}`)).toBe(0)
  })

  test('R17 BDAT is 502 and its octets are commands, until 421; nothing is delivered', async () => {
    const client = await stand.greeted()
    expect(await client.command(`MAIL FROM:<${FROM}>`)).toMatch(/^250/)
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
    const chunk = `Subject: chunk\r\n\r\n${'not a command\r\n'.repeat(40)}`
    client.write(`BDAT ${chunk.length} LAST\r\n${chunk}QUIT\r\n`)
    expect(await client.reply()).toMatch(/^502 5\.5\.1 /)
    const heard: string[] = []
    while (!heard.at(-1)?.startsWith('421')) heard.push(await client.reply())
    expect(heard.slice(0, -1)).toEqual(Array(19).fill(expect.stringMatching(/^500 5\.5\.2 /)))
    expect(await client.closed()).toBe('')
    // A short one, and the session is what it was.
    const next = await stand.greeted()
    await next.command(`MAIL FROM:<${FROM}>`)
    await next.command(`RCPT TO:<${ANNA}>`)
    next.write('BDAT 5 LAST\r\nabc\r\n')
    expect(await next.reply()).toMatch(/^502 /)
    expect(await next.reply()).toMatch(/^500 /)
    await next.command('DATA')
    next.write('Subject: behind BDAT\r\n\r\nx\r\n.\r\n')
    expect(await next.reply()).toMatch(/^250/)
    expect(bodyOf(await stand.delivered(ANNA, 'Subject: behind BDAT'))).toBe('x\n')
    expect(copies(stand.server, ANNA, 'Subject: chunk')).toBe(0)
  })

  test('R20 R21 R44 parameters of what is not offered are 555', async () => {
    const client = await stand.greeted()
    for (const parameter of ['REQUIRETLS', 'BODY=BINARYMIME', 'RCPTMAX=3', 'XOORG=example.org']) {
      expect(await client.command(`MAIL FROM:<${FROM}> ${parameter}`)).toMatch(/^(555|504) 5\.5\.4 /)
    }
    expect(await client.send(FROM, ANNA)).toMatch(/^250/)
  })

  test('R23 AUTH is 502 as often as it comes, and mail still goes through', async () => {
    const client = await stand.greeted()
    for (let i = 0; i < 30; i++) expect(await client.command('AUTH PLAIN AGEAYgBj')).toMatch(/^502 5\.5\.1 /)
    expect(await client.send(FROM, ANNA, 'Subject: behind AUTH\r\n\r\nx\r\n')).toMatch(/^250/)
    await stand.delivered(ANNA, 'Subject: behind AUTH')
    expect(stand.server.log()).not.toContain('AGEAYgBj')
  })

  test('R24 a line of 600 octets, and one of a million, are 500; a transaction under way stands', async () => {
    const client = await stand.greeted()
    expect(await client.command(`MAIL FROM:<${FROM}>`)).toMatch(/^250/)
    expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
    for (const octets of [600, 1_000_000])
      expect(await client.command(`NOOP ${'x'.repeat(octets)}`)).toMatch(/^500 5\.5\.2 /)
    expect(await client.command(`RCPT TO:<${'x'.repeat(2000)}@${DOMAIN}>`)).toMatch(/^500 5\.5\.2 /)
    expect(await client.command('DATA')).toMatch(/^354/)
    client.write('Subject: behind 500\r\n\r\nx\r\n.\r\n')
    expect(await client.reply()).toMatch(/^250/)
    await stand.delivered(ANNA, 'Subject: behind 500')
    expect(stand.server.log()).not.toContain('xxxxxxxx')
  })

  test('R25 a hundred commands that bring no mail are borne, and a message between gives a new hundred', async () => {
    const client = await stand.greeted()
    for (let round = 0; round < 2; round++) {
      client.write('NOOP\r\nRSET\r\nVRFY anna\r\nHELP\r\n'.repeat(24))
      for (let i = 0; i < 96; i++) expect(await client.reply()).toMatch(/^2/)
      expect(await client.send(FROM, ANNA)).toMatch(/^250/)
    }
    client.write('NOOP\r\n'.repeat(102))
    for (let i = 0; i < 100; i++) expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(/^421 4\.7\.0 /)
    expect(await client.closed()).toBe('')
    // What brings no mail costs the server nothing.
    expect(stand.server.log()).not.toMatch(/VRFY|HELP/)
  })

  describe('over TLS', () => {
    const directory = mkdtempSync(join(tmpdir(), 'spillway-tls-'))
    beforeAll(() => {
      writeFileSync(join(directory, 'cert.pem'), CERT)
      writeFileSync(join(directory, 'key.pem'), KEY)
    })
    afterAll(() => rmSync(directory, { recursive: true }))

    test('R22 R14 plaintext behind STARTTLS is thrown away, what was said before is forgotten, and mail goes through', async () => {
      const tls = { TLS_CERT: join(directory, 'cert.pem'), TLS_KEY: join(directory, 'key.pem') }
      const app = await stand.another(tls)
      const client = await app.client()
      expect(names(await client.hello())).toContain('STARTTLS')
      await client.command(`MAIL FROM:<${FROM}>`)
      expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
      // In one write with STARTTLS, so that it lies in the buffer when TLS begins.
      const socket = client.socket
      const write = socket.write.bind(socket)
      const injected = 'EHLO injected\r\nMAIL FROM:<injected@evil.example>\r\n'
      socket.write = ((data: string | Buffer, encoding?: BufferEncoding) =>
        write(data === 'STARTTLS\r\n' ? data + injected : data, encoding)) as typeof socket.write
      await client.startTls()
      for (const line of ['DATA', `RCPT TO:<${ANNA}>`, `MAIL FROM:<${FROM}>`]) {
        expect(await client.command(line)).toMatch(/^503/)
      }
      expect(names(await client.command('EHLO secure.example'))).not.toContain('STARTTLS')
      expect(await client.command('STARTTLS')).toMatch(/^503/)
      expect(await client.send(FROM, ANNA, 'Subject: over TLS\r\n\r\nx\r\n')).toMatch(/^250/)
      expect(await client.command('QUIT')).toMatch(/^221/)
      await stand.delivered(ANNA, 'Subject: over TLS')
      expect(stand.server.log()).not.toContain('injected')
      await app.stop()
    })
  })
})

describe('with the scripted upstream', () => {
  test('R15 R18 R19 R44 what it lacks is not offered, and its parameters are 555 before it hears of them', async () => {
    const server = await startScripted({ recipients: [ANNA], unsaid: ['SMTPUTF8', '8BITMIME', 'DSN'] })
    const app = await startApp(`127.0.0.1:${server.port()}`)
    try {
      const client = await app.client()
      expect(names(await client.hello()).sort()).toEqual(['ENHANCEDSTATUSCODES', 'PIPELINING', 'SIZE'])
      for (const parameter of ['SMTPUTF8', 'BODY=8BITMIME', 'RET=HDRS', 'ENVID=x']) {
        expect(await client.command(`MAIL FROM:<${FROM}> ${parameter}`)).toMatch(/^555 5\.5\.4 /)
      }
      await client.command(`MAIL FROM:<${FROM}>`)
      for (const parameter of ['NOTIFY=NEVER', `ORCPT=rfc822;${ANNA}`]) {
        expect(await client.command(`RCPT TO:<${ANNA}> ${parameter}`)).toMatch(/^555 5\.5\.4 /)
      }
      expect(server.log()).not.toMatch(/SMTPUTF8|BODY|RET|ENVID|NOTIFY|ORCPT/)
      // The 8-bit bytes themselves are not ours to judge.
      expect(await client.command(`RCPT TO:<j\xc3\xbcrgen@${DOMAIN}>`)).toMatch(/^550 5\.1\.1 /)
    } finally {
      await app.stop()
      await server.stop()
    }
  })
})

describe(`with ${SERVERS.map(({ name }) => name).join(', ')}`, () => {
  test('R15 behind one node: what all of them offer, and when one is gone what the others do', async () => {
    const stands = await Promise.all(SERVERS.map((kind) => kind.start({ recipients: [ANNA], sizeLimit: 50_000 })))
    const poor = await startScripted({ recipients: [ANNA], sizeLimit: 40_000, unsaid: ['DSN', 'SMTPUTF8'] })
    const ports = [poor.port(), ...stands.map((server, i) => server.port(SERVERS[i]?.plain))]
    const app = await startApp(ports.map((port) => `127.0.0.1:${port}`).join(','))
    try {
      const client = await app.client()
      const offer = async (): Promise<string[]> => keywords(await client.command('EHLO client.example'))
      await client.reply()
      expect(await offer()).toContain('SIZE 40000')
      expect(await offer()).not.toContain('DSN')
      for (const parameter of ['SMTPUTF8', 'RET=FULL']) {
        expect(await client.command(`MAIL FROM:<${FROM}> ${parameter}`)).toMatch(/^555/)
      }
      await poor.stop()
      await eventually(offer, (offered) => offered.includes('SIZE 50000'))
    } finally {
      await app.stop()
      for (const server of stands) await server.stop()
      await poor.stop()
    }
  })
})
