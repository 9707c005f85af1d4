import { describe, expect, test } from '@jest/globals'
import { LONGEST_REPLY_TEXT } from '../../src/config/reply-text-kind.ts'
import { readId, refusalId, sessionIds } from '../../src/core/id.ts'
import { refusal, refusalAt } from '../../src/core/policy.ts'
import { REASON_NAMES, reasonOf } from '../../src/core/reasons.ts'
import { createVoice, say, sayLines } from '../../src/front/reply.ts'

const id = sessionIds(7)(Date.UTC(2026, 10, 21))
const client = { id, ip: '198.51.100.7' }
const voice = createVoice('mx1.example.net', undefined)
/** The longest there are: RFC 1035 section 3.1 (253 characters as text), and an IPv6 address without any zero. */
const LONGEST = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`
const far = { id, ip: '2001:db8:1234:5678:9abc:def0:1234:5678' }

describe('the replies to a refused client', () => {
  test('are as the operator knows them', () => {
    const full = (reason: Parameters<typeof refusal>[0]) => refusalId(id, reason)
    expect(voice.refusal(client, refusal('ip_connections'))).toBe(
      `421 4.7.28 mx1.example.net [198.51.100.7] Too many connections from your address; nothing is lost, try again later (${full('ip_connections')})\r\n`,
    )
    expect(voice.refusal(client, refusal('global_messages'))).toBe(
      `451 4.3.2 mx1.example.net [198.51.100.7] Busy; please try again in a few minutes (${full('global_messages')})\r\n`,
    )
    expect(voice.refusal(client, refusalAt('connect', 'denied'))).toBe(
      `554 5.7.1 [198.51.100.7] Refused by local policy (${full('denied')})\r\n`,
    )
  })

  const urls = [undefined, 'https://support.example.net/{id}', `https://support.example.net/${'p'.repeat(400)}/{id}`]
  test.each(REASON_NAMES.flatMap((name) => urls.map((url) => [name, url] as const)))(
    '%s are one line of ASCII, at most 512 octets, with the id (support %s)',
    (name, url) => {
      const { code, enhanced } = reasonOf(name)
      const line = createVoice(LONGEST, url).refusal(far, refusal(name, { used: 1, max: 2 }))
      expect(Buffer.byteLength(line)).toBeLessThanOrEqual(512)
      expect(line).toMatch(/^[ -~]+\r\n$/)
      expect(line.startsWith(`${code} ${enhanced} `)).toBe(true)
      expect(line).toContain(`[${far.ip}]`)
      const told = /[(/]([0-9A-Z]{13})\)?\r\n$/.exec(line)?.[1] ?? ''
      expect(readId(told)?.reason).toBe(name)
    },
  )

  test('names of DNS lists that are as long as names may be are cut, and the id stays', () => {
    const given = refusal('dnsbl')
    for (const url of urls) {
      const told = { ...given, text: `${given.text} (${LONGEST}, ${LONGEST}, ${LONGEST})` }
      const line = createVoice(LONGEST, url).refusal(far, told)
      expect(Buffer.byteLength(line)).toBeLessThanOrEqual(512)
      expect(line).toContain(`${given.text} (aaa`)
      expect(readId(/[(/]([0-9A-Z]{13})\)?\r\n$/.exec(line)?.[1] ?? '')?.reason).toBe('dnsbl')
    }
  })

  test('the support address stands in place of the bare id', () => {
    const line = createVoice('mx1.example.net', 'https://a.example/{id}?{id}').refusal(
      client,
      refusalAt('connect', 'denied'),
    )
    const full = refusalId(id, 'denied')
    expect(line).toBe(`554 5.7.1 [198.51.100.7] Refused by local policy https://a.example/${full}?${full}\r\n`)
  })
})

describe("the operator's words", () => {
  test('stand in place of ours; code, enhanced code, address and id stay, and so do other reasons', () => {
    const own = createVoice('mx1.example.net', undefined, [{ reason: 'denied', text: 'Ask +49 30 5550100' }])
    expect(own.refusal(client, refusalAt('connect', 'denied'))).toBe(
      `554 5.7.1 [198.51.100.7] Ask +49 30 5550100 (${refusalId(id, 'denied')})\r\n`,
    )
    expect(own.refusal(client, refusalAt('rcpt', 'denied'))).toMatch(/^550 5\.7\.1 \[198\.51\.100\.7\] Ask \+49/)
    expect(own.refusal(client, refusal('size'))).toBe(voice.refusal(client, refusal('size')))
  })

  test('keep what a check has added', () => {
    const own = createVoice('mx1.example.net', undefined, [{ reason: 'dnsbl', text: 'You are listed' }])
    const given = refusal('dnsbl')
    const told = own.refusal(client, { ...given, text: `${given.text} (bl.example)` })
    expect(told).toBe(
      `${given.code} ${given.enhanced} [198.51.100.7] You are listed (bl.example) (${refusalId(id, 'dnsbl')})\r\n`,
    )
  })

  const urls = [undefined, `https://support.example.net/${'p'.repeat(400)}/{id}`]
  test.each(REASON_NAMES.flatMap((reason) => urls.map((url) => [reason, url] as const)))(
    'of %s, the longest there are, fit into 512 octets with address and id (support %s)',
    (reason, url) => {
      const own = createVoice(LONGEST, url, [{ reason, text: 'w'.repeat(LONGEST_REPLY_TEXT) }])
      const given = refusal(reason)
      for (const added of ['', ` (${LONGEST}, ${LONGEST})`]) {
        const line = own.refusal(far, { ...given, text: given.text + added })
        expect(Buffer.byteLength(line)).toBeLessThanOrEqual(512)
        expect(line).toContain('w'.repeat(LONGEST_REPLY_TEXT))
        expect(readId(/[(/]([0-9A-Z]{13})\)?\r\n$/.exec(line)?.[1] ?? '')?.reason).toBe(reason)
      }
    },
  )
})

describe("an upstream's replies", () => {
  test('a yes is passed on as it was', () => {
    expect(voice.relayed(client, { code: 250, lines: ['2.1.5 Ok'] })).toBe('250 2.1.5 Ok\r\n')
    expect(voice.relayed(client, { code: 250, lines: ['2.0.0 Ok', '2.0.0 queued'] })).toBe(
      '250-2.0.0 Ok\r\n250 2.0.0 queued\r\n',
    )
    expect(voice.relayed(client, { code: 250, lines: [] })).toBe('250 \r\n')
  })

  test('R6 a refusal has the id behind its last line', () => {
    const said = voice.relayed(client, { code: 550, lines: ['5.1.1 no such user', '5.1.1 really'] })
    expect(said).toBe(`550-5.1.1 no such user\r\n550 5.1.1 really (${refusalId(id, undefined)})\r\n`)
  })

  test('R6 a refusal that leaves no room has the id in a line of its own, with the same enhanced code', () => {
    for (const length of [480, 495, 505, 600, 2000]) {
      const said = voice.relayed(client, { code: 450, lines: [`4.2.1 ${'x'.repeat(length)}`] })
      expect(said).toContain(`(${refusalId(id, undefined)})\r\n`)
      const lines = said.split('\r\n').slice(0, -1)
      expect(lines.map((line) => line.slice(0, 10))).toEqual(
        lines.length === 1 ? ['450 4.2.1 '] : ['450-4.2.1 ', '450 4.2.1 '],
      )
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(510)
    }
  })
})

describe("what of an upstream's text a client does not read", () => {
  const bytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
  const ok = (text: string, utf8 = false): string =>
    voice.relayed(client, { code: 250, lines: [text] }, { utf8 }).slice(4, -2)

  test.each([
    ['ESC', 'a\x1b[31mred', 'a?[31mred'],
    ['NUL', 'a\0b', 'a?b'],
    ['a bare CR, as the beginning of a reply of its own', 'a\r250 ok', 'a?250 ok'],
    ['a bare LF', 'a\nb', 'a?b'],
    ['DEL', 'a\x7fb', 'a?b'],
    ['C1 controls', bytes('a\u0085b\u009bc'), 'a?b?c'],
    ['bytes that are no UTF-8', 'a\xff\xfeb', 'a??b'],
    ['separators of lines and marks of direction', bytes('a\u2028b\u202ec\u2066d'), 'a?b?c?d'],
  ])('R6 %s', (_, text, expected) => {
    expect(ok(text)).toBe(expected)
    expect(ok(text, true)).toBe(expected)
  })

  test('R18 a tab passes, and UTF-8 where the client asked for SMTPUTF8', () => {
    const text = bytes('2.1.5\tjürgen 用户 ok')
    expect(ok(text)).toBe('2.1.5\tj?rgen ?? ok')
    expect(ok(text, true)).toBe(text)
  })

  test.each([506, 507, 4000])('a line of %i octets is cut to what a client has to read', (length) => {
    for (const [code, lines] of [
      [250, 1],
      [550, 2],
    ] as const) {
      const said = voice.relayed(client, { code, lines: [`${code === 550 ? '5.1.1' : '2.1.5'} `.padEnd(length, 'x')] })
      const read = said.split('\r\n').slice(0, -1)
      expect(read).toHaveLength(lines)
      for (const line of read) expect(line.length + 2).toBeLessThanOrEqual(512)
      expect(read[0]).toHaveLength(510)
    }
  })

  test('and never within a character', () => {
    for (let before = 500; before <= 506; before++) {
      const cut = ok(bytes('x'.repeat(before) + '用'.repeat(10)), true)
      expect(cut.length).toBeLessThanOrEqual(506)
      expect(Buffer.from(cut, 'latin1').toString('utf8')).toMatch(/^x+用*$/)
    }
  })

  test('of more than twenty lines the rest; the id is still there', () => {
    const lines = Array.from({ length: 200 }, (_, i) => `5.7.1 line ${i}`)
    const said = voice.relayed(client, { code: 550, lines }).split('\r\n').slice(0, -1)
    expect(said).toHaveLength(20)
    expect(said.slice(0, -1).every((line) => line.startsWith('550-'))).toBe(true)
    expect(said.at(-1)).toBe(`550 5.7.1 line 19 (${refusalId(id, undefined)})`)
  })

  test.each([
    [450, '5.1.1 no such user', '4.1.1 no such user'],
    [550, '4.2.2 full', '5.2.2 full'],
    [250, '5.0.0 Ok', '2.0.0 Ok'],
    [550, '5.1.1 no such user', '5.1.1 no such user'],
    [550, '5.1.1: no such user', '5.1.1: no such user'],
    [550, '4.1.1: no such user', '5.1.1: no such user'],
    [550, '2.4.0.1 is on a list', '2.4.0.1 is on a list'],
    [550, '4 users', '4 users'],
    [550, '4.2 or more', '4.2 or more'],
  ])('R6 %i with %j: an enhanced code of another class is set right', (code, text, expected) => {
    const said = voice.relayed(client, { code, lines: [text] })
    expect(said.startsWith(`${code} ${expected}`)).toBe(true)
  })
})

test('replies of the protocol itself', () => {
  expect(say(250, '2.0.0', 'Ok')).toBe('250 2.0.0 Ok\r\n')
  expect(say(220, undefined, 'mx ESMTP')).toBe('220 mx ESMTP\r\n')
  expect(sayLines(250, ['a', 'b', 'c'])).toBe('250-a\r\n250-b\r\n250 c\r\n')
})
