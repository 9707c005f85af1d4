/**
 * What an address may look like is the mail server's business: its path goes to it as the client sent it, and its own
 * verdict is what the client hears. So each server is asked directly as well, and both have to hear the same. What could
 * be taken for something else than one command never gets that far. How a command around the path may be spelled is
 * spellings.test.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Client } from '../../support/client.ts'
import { SERVERS } from '../servers.ts'
import type { Scripted } from './scripted.ts'
import { ANNA, asSaid, DOMAIN, FROM, ID, type Stand, startStand } from './stand.ts'

/** As it stands on the wire: a byte a character. */
const utf8 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

const LOCAL_PARTS: Readonly<Record<string, string>> = {
  'a quoted space': '"an na"',
  'a quoted @': '"anna@home"',
  'quoted brackets': '"<anna>"',
  'an escaped quote': '"an\\"na"',
  'an escaped backslash': '"anna\\\\"',
  'an empty quoted string': '""',
  'a quoted dot at the end': '"anna."',
  'quotes that need none': '"anna"',
  'an apostrophe': "o'hara",
  'every atom character': "!#$%&'*+-/=?^_`{|}~",
  'a tag': 'anna+tag',
  'a dot at the end': 'anna.',
  'a dot at the start': '.anna',
  'two dots': 'an..na',
  'an unquoted @': 'anna@home',
  '64 octets': 'x'.repeat(64),
  '65 octets': 'x'.repeat(65),
  '200 octets': 'x'.repeat(200),
  'UTF-8': utf8('jürgen'),
  'UTF-8 of four bytes': utf8('𝒜nna'),
  'bytes that are no UTF-8': '\xfc\xe4',
  capitals: 'ANNA',
  'a percent hack': 'anna%elsewhere.example',
  'a bang path': 'elsewhere.example!anna',
}

const WHOLE: Readonly<Record<string, string>> = {
  'a source route': `<@one.example,@two.example:anna@${DOMAIN}>`,
  'a source route of one': `<@${DOMAIN}:anna@${DOMAIN}>`,
  'no domain': '<anna>',
  'postmaster without a domain': '<postmaster>',
  'postmaster in capitals': '<POSTMASTER>',
  'an IPv4 literal': '<anna@[192.0.2.1]>',
  'an IPv6 literal': '<anna@[IPv6:2001:db8::1]>',
  'a literal that is none': '<anna@[300.1.2.3]>',
  'a domain with a dot at the end': `<anna@${DOMAIN}.>`,
  'a domain in capitals': `<anna@${DOMAIN.toUpperCase()}>`,
  'an empty domain': '<anna@>',
  'an empty label': '<anna@example..test>',
  'an underscore in the domain': '<anna@an_na.example>',
  'a UTF-8 domain': `<anna@${utf8('bücher.example')}>`,
  'an empty local part': `<@${DOMAIN}>`,
}

const ADDRESSES = [
  ...Object.entries(LOCAL_PARTS).map(([what, local]) => [what, `<${local}@${DOMAIN}>`] as const),
  ...Object.entries(WHOLE),
]

const PARAMETERS: Readonly<Record<string, readonly [mail: string, rcpt: string]>> = {
  'a size': [' SIZE=1000', ''],
  'a body type': [' BODY=8BITMIME', ''],
  'an envelope id in xtext': [' RET=HDRS ENVID=QQ+2B314+3D159', ''],
  'an original recipient in xtext': ['', ' ORCPT=rfc822;an+2Bna+3D@example.org NOTIFY=SUCCESS,FAILURE'],
  'no notice at all': ['', ' NOTIFY=NEVER'],
  'lower case': [' size=1000 body=8bitmime', ' notify=never'],
  'SMTPUTF8 and an original recipient in utf-8-addr-xtext': [' SMTPUTF8', ' ORCPT=utf-8;j\\x{FC}rgen@example.org'],
}

interface Verdicts {
  readonly mail: string
  readonly rcpt: string
}

async function ask(client: Client, mail: string, rcpt: string): Promise<Verdicts> {
  return { mail: await client.command(mail), rcpt: await client.command(rcpt) }
}

/** X.1.7 of a sender, X.1.3 of a recipient (RFC 3463 section 3.2). */
const BAD_PATH = /^501 5\.1\.[37] /

describe.each(SERVERS)('with $name', (kind) => {
  let stand: Stand
  beforeAll(async () => {
    stand = await startStand(kind, {}, { LIMIT_IP_UNKNOWN_RECIPIENTS: 'off' })
  })
  afterAll(() => stand.stop())

  /** Beyond ASCII a client hears only what it asked for (RFC 6531 section 3.7.4): Postfix and Exim repeat what they were sent. */
  const asHeard = (reply: string, mail: string): string =>
    /SMTPUTF8/.test(mail)
      ? reply
      : Buffer.from(reply, 'latin1')
          .toString('utf8')
          .replace(/[^\t\r\n -~]/gu, '?')

  /** Both hear the same; where the server shows what it heard, it is what the client sent, to the byte. */
  async function same(mail: string, rcpt: string): Promise<void> {
    const [direct, client] = [await stand.direct(), await stand.greeted()]
    const said = await ask(direct, mail, rcpt)
    const heard = await ask(client, mail, rcpt)
    direct.destroy()
    client.destroy()
    if (said.mail.startsWith('2')) {
      expect(heard.mail).toMatch(/^250 /)
      expect(asSaid(heard.rcpt)).toBe(asHeard(said.rcpt, mail))
    } else {
      // MAIL goes to the server with the first recipient: who hears its verdict is that one.
      expect(said.mail).toMatch(/^5/)
      expect(heard.mail).toMatch(/^250 /)
      expect(asSaid(heard.rcpt)).toBe(asHeard(said.mail, mail))
    }
    const { upstream } = stand.server as Partial<Scripted>
    if (upstream === undefined) return
    const lines = upstream.lastMailed()?.lines ?? []
    expect(lines.slice(lines.indexOf(mail))).toEqual([mail, rcpt, ...lines.slice(lines.indexOf(rcpt) + 1)])
  }

  describe('R18 R44 an address is what the server takes for one', () => {
    test.each(ADDRESSES)('to %s', (_, address) => same(`MAIL FROM:<${FROM}>`, `RCPT TO:${address}`))
    test.each(ADDRESSES)('from %s', (_, address) => same(`MAIL FROM:${address}`, `RCPT TO:<${ANNA}>`))
  })

  test('R18 with SMTPUTF8 an address in UTF-8 is what the server takes for one', async () => {
    const offered = (await stand.offer()).includes('SMTPUTF8')
    const [mail, rcpt] = [`MAIL FROM:<${utf8('jürgen')}@sender.example> SMTPUTF8`, `RCPT TO:<${utf8('åsa')}@${DOMAIN}>`]
    if (offered) await same(mail, rcpt)
    else expect(await (await stand.greeted()).command(mail)).toMatch(/^555 5\.5\.4 /)
  })

  describe('R18 R19 R44 parameters pass as they are where the server offers them, and are 555 where not', () => {
    test.each(Object.entries(PARAMETERS))('%s', async (_, [mail, rcpt]) => {
      const ehlo = await (await stand.greeted()).command('EHLO client.example')
      const needs = [
        /BODY/i.test(mail) && '8BITMIME',
        /SMTPUTF8/.test(mail) && 'SMTPUTF8',
        /RET/.test(mail) && 'DSN',
        /NOTIFY|ORCPT/i.test(rcpt) && 'DSN',
      ].filter((need) => need !== false)
      const missing = needs.some((need) => !ehlo.includes(need))
      if (!missing) return same(`MAIL FROM:<${FROM}>${mail}`, `RCPT TO:<${ANNA}>${rcpt}`)
      const client = await stand.greeted()
      const { mail: toMail, rcpt: toRcpt } = await ask(client, `MAIL FROM:<${FROM}>${mail}`, `RCPT TO:<${ANNA}>${rcpt}`)
      expect([toMail, toRcpt]).toContainEqual(expect.stringMatching(/^555 5\.5\.4 /))
    })
  })

  describe('R44 what is not one address on one line is refused at once, and never gets to the server', () => {
    const MARK = 'never.seen'
    test.each([
      ['a NUL', `<${MARK}\0@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['a tab', `<${MARK}\t@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['an escape', `<${MARK}\x1b[2J@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['a DEL', `<${MARK}\x7f@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['a control character in quotes', `<"${MARK}\x01"@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['a bare CR and a second command', `<${MARK}@${DOMAIN}>\rRCPT TO:<${MARK}@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['two CRs at the end', `<${MARK}@${DOMAIN}>\r\r`, /^501 5\.5\.4 /],
      ['no closing bracket', `<${MARK}@${DOMAIN}`, BAD_PATH],
      ['no opening bracket', `${MARK}@${DOMAIN}>`, BAD_PATH],
      ['a quote that is never closed', `<"${MARK}@${DOMAIN}>`, BAD_PATH],
      ['a space that is not quoted', `<${MARK} x@${DOMAIN}>`, BAD_PATH],
      ['two paths', `<${MARK}@${DOMAIN}><${MARK}@${DOMAIN}>`, /^501 5\.5\.4 /],
      ['brackets within brackets', `<<${MARK}@${DOMAIN}>>`, BAD_PATH],
      ['a parameter that was not offered', `<${MARK}@${DOMAIN}> XFOO=bar`, /^555 5\.5\.4 /],
      ['a parameter without a name', `<${MARK}@${DOMAIN}> =bar`, /^501 5\.5\.4 /],
    ])('%s', async (_, address, expected) => {
      const client = await stand.greeted()
      const refused = await client.command(`MAIL FROM:${address}`)
      expect(refused).toMatch(expected === BAD_PATH ? /^501 5\.1\.7 / : expected)
      expect(refused).toMatch(ID)
      expect(await client.command(`MAIL FROM:<${FROM}>`)).toMatch(/^250/)
      expect(await client.command(`RCPT TO:${address}`)).toMatch(expected === BAD_PATH ? /^501 5\.1\.3 / : expected)
      expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^250/)
      expect(stand.server.log()).not.toContain(MARK)
    })

    test('a line end within a path makes two lines, and neither is a recipient', async () => {
      const client = await stand.greeted()
      await client.command(`MAIL FROM:<${FROM}>`)
      for (const end of ['\n', '\r\n']) {
        client.write(`RCPT TO:<${MARK}${end}@${DOMAIN}>\r\n`)
        expect(await client.reply()).toMatch(/^501 5\.1\.3 /)
        expect(await client.reply()).toMatch(/^500 5\.5\.2 /)
      }
      expect(await client.command('DATA')).toMatch(/^554 /)
      expect(stand.server.log()).not.toContain(MARK)
    })
  })
})
