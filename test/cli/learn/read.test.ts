/** What is learned from logs of mail servers. Postfix and Exim write theirs here; sendmail's lines are as its own documents have them. */
import { afterAll, describe, expect, test } from '@jest/globals'
import { dated } from '../../../src/cli/learn/log-time.ts'
import { LogLines } from '../../../src/cli/learn/read.ts'
import { sourceOf } from '../../../src/core/ip.ts'
import { startExim } from '../../services/exim.ts'
import { startPostfix } from '../../services/postfix.ts'
import { eventually } from '../../support/app.ts'
import { type Client, connectClient } from '../../support/client.ts'

/** Noon where the logs were written, which is here: their times have no zone. */
const NOW = new Date(2026, 10, 27, 12).getTime()

interface Tally {
  good: number
  bad: number
  first: number
  last: number
}
interface Learned {
  readonly lines: LogLines
  readonly bySource: ReadonlyMap<string, Tally>
}

function learned(text: string, now = NOW): Learned {
  const bySource = new Map<string, Tally>()
  const lines = new LogLines(
    (ip, { good, bad }, at) => {
      const before = bySource.get(sourceOf(ip)) ?? { good: 0, bad: 0, first: at, last: at }
      bySource.set(sourceOf(ip), { ...before, good: before.good + good, bad: before.bad + bad, last: at })
    },
    now,
    2,
  )
  for (const line of text.split('\n')) lines.line(line)
  return { lines, bySource }
}
const tallyOf = ({ bySource }: Learned, source: string): Tally | undefined => bySource.get(source)

test.each([
  [
    'Postfix',
    'mail.a.example',
    'Nov 27 09:15:02 mx postfix/smtpd[7]: 4Xy1Z2ABC: client=mail.a.example[198.51.100.7]\nNov 27 09:15:02 mx postfix/qmgr[9]: 4Xy1Z2ABC: from=<a@b>, size=400, nrcpt=1 (queue active)',
  ],
  [
    'Postfix',
    'mail.a.example',
    'Nov 27 09:15:02 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from mail.a.example[198.51.100.7]: 550 5.1.1 <x@y>: Recipient address rejected: User unknown; from=<a@b>',
  ],
  [
    'Exim',
    'mail.a.example',
    '2026-11-27 09:15:02 1rNqXY-000001-AB <= a@b H=mail.a.example [198.51.100.7] P=esmtp S=400',
  ],
  [
    'Exim',
    'mail.a.example',
    '2026-11-27 09:15:02 1rNqXY-000001-AB <= a@b H=mail.a.example (liar.example) [198.51.100.7] P=esmtp S=400',
  ],
  [
    'Exim, not confirmed',
    undefined,
    '2026-11-27 09:15:02 1rNqXY-000001-AB <= a@b H=(liar.example) [198.51.100.7] P=esmtp S=400',
  ],
  [
    'sendmail',
    'mail.a.example',
    'Nov 27 09:15:02 mx sendmail[7]: 4AR9F2x1000001: from=<a@b>, size=400, class=0, nrcpts=1, msgid=<a@b>, proto=ESMTP, daemon=MTA, relay=mail.a.example [198.51.100.7]\nNov 27 09:15:03 mx sendmail[8]: 4AR9F2x1000001: to=<x@y>, delay=00:00:01, stat=Sent',
  ],
  [
    'sendmail, not confirmed',
    undefined,
    'Nov 27 09:15:02 mx sendmail[7]: 4AR9F2x1000001: from=<a@b>, size=400, class=0, nrcpts=1, msgid=<a@b>, proto=ESMTP, daemon=MTA, relay=liar.example [198.51.100.7] (may be forged)\nNov 27 09:15:03 mx sendmail[8]: 4AR9F2x1000001: to=<x@y>, delay=00:00:01, stat=Sent',
  ],
])('%s says the name of a client: %s', (_, name, text) => {
  const names: unknown[] = []
  const lines = new LogLines((ip, _lesson, _at, name) => names.push([ip, name]), NOW, 2)
  for (const line of text.split('\n')) lines.line(line)
  expect(names).toEqual([['198.51.100.7', name]])
})

describe('a line of Postfix', () => {
  const taken = (client: string, id = '4Xy1Z2ABC') =>
    [
      `Nov 27 09:15:02 mx postfix/smtpd[77]: ${id}: client=${client}`,
      `Nov 27 09:15:02 mx postfix/cleanup[78]: ${id}: message-id=<a@b>`,
      `Nov 27 09:15:02 mx postfix/qmgr[79]: ${id}: from=<a@b>, size=400, nrcpt=1 (queue active)`,
      `Nov 27 09:16:02 mx postfix/qmgr[79]: ${id}: from=<a@b>, size=400, nrcpt=1 (queue active)`,
    ].join('\n')

  test('a message that was taken counts once', () => {
    const learner = learned(taken('mail.example[198.51.100.7]'))
    const at = new Date(2026, 10, 27, 9, 15, 2).getTime()
    expect(tallyOf(learner, '198.51.100.7')).toEqual({ good: 1, bad: 0, first: at, last: at })
    expect(learner.lines.read).toEqual({ lines: 4, used: 1, foreign: 0, long: 0 })
  })

  test.each([
    ['one of this machine', 'localhost[127.0.0.1]'],
    ['our own user', 'dsl.example[198.51.100.7], sasl_method=PLAIN, sasl_username=anna'],
    ['a local one', 'unknown[unknown]'],
  ])('%s is no sender', (_, client) => {
    expect(learned(taken(client)).bySource.size).toBe(0)
  })

  test.each([
    [
      'NOQUEUE: reject: RCPT from x.example[192.0.2.9]: 550 5.1.1 <no@example.test>: Recipient address rejected: User unknown in virtual mailbox table; from=<a@b> to=<no@example.test> proto=ESMTP helo=<x>',
      1,
    ],
    [
      '4Xy1Z2ABC: reject: RCPT from x.example[192.0.2.9]: 550 5.1.1 <no@example.test>: Recipient address rejected: User unknown; from=<>',
      1,
    ],
    [
      '4Xy1Z2ABC: milter-reject: END-OF-MESSAGE from x.example[192.0.2.9]: 5.7.1 Spam message rejected; from=<a@b> to=<c@d> proto=ESMTP helo=<x>',
      1,
    ],
    ['NOQUEUE: reject: RCPT from x.example[192.0.2.9]: 450 4.7.1 <no@example.test>: Greylisted; from=<a@b>', undefined],
    [
      'NOQUEUE: reject: RCPT from x.example[192.0.2.9]: 554 5.7.1 <no@elsewhere.example>: Relay access denied; from=<a@b>',
      undefined,
    ],
    [
      '4Xy1Z2ABC: milter-reject: END-OF-MESSAGE from x.example[192.0.2.9]: 4.7.1 Service unavailable; from=<a@b>',
      undefined,
    ],
  ])('%s', (text, bad) => {
    const daemon = text.includes('milter') ? 'cleanup' : 'smtpd'
    expect(tallyOf(learned(`2026-11-27T09:15:02.123+01:00 mx postfix/${daemon}[77]: ${text}`), '192.0.2.9')?.bad).toBe(
      bad,
    )
  })
})

describe('a line of Exim', () => {
  test.each([
    ['1xX1j0-0005gr-2h <= a@b.example H=mail.example (helo.example) [192.0.2.9]:4000 P=esmtps X=TLS S=228', 1, 0],
    ['1xX1j0-0005gr-2h <= <> R=1xX1j0-0005gr-2g H=([192.0.2.77]) [192.0.2.9] P=esmtp S=228', 1, 0],
    ['H=(x) [192.0.2.9] F=<a@b> rejected RCPT <no@example.test>: Unrouteable address', 0, 1],
    ['[77] H=mail.example (x) [192.0.2.9]:4000 X=TLS F=<a@b> rejected RCPT <no@example.test>: Unknown user', 0, 1],
    ['1xX1j0-0005gr-2h H=(x) [192.0.2.9] F=<a@b> rejected after DATA: This message scored 12 spam points', 0, 1],
  ])('%s', (text, good, bad) => {
    const learner = learned(`2026-11-27 09:15:02 ${text}`)
    expect([...learner.bySource]).toEqual([['192.0.2.9', expect.objectContaining({ good, bad })]])
  })

  test.each([
    '1xX1j0-0005gr-2h <= anna@example.test U=anna P=local S=228',
    '1xX1j0-0005gr-2h <= anna@example.test H=(dsl) [192.0.2.9] P=esmtpsa A=plain:anna S=228',
    'H=(x) [192.0.2.9] F=<a@b> temporarily rejected RCPT <anna@example.test>: greylisted',
    'H=(x) [192.0.2.9] F=<a@b> rejected RCPT <anna@elsewhere.example>: relay not permitted',
    '1xX1j0-0005gr-2h => anna <anna@example.test> R=mailboxes T=mailbox',
    '1xX1j0-0005gr-2h <= "a H=[198.51.100.7] b"@x.example H=(x) [192.0.2.9] P=esmtp S=228',
  ])('nothing: %s', (text) => {
    expect(learned(`2026-11-27 09:15:02 ${text}`).bySource.size).toBe(0)
  })
})

test('sendmail: a message counts when it was delivered, not where a milter has refused it', () => {
  const from = (id: string, ip: string, recipients: number) =>
    `Nov 27 09:15:02 mx sendmail[9]: ${id}: from=<a@b.example>, size=400, class=0, nrcpts=${recipients}, msgid=<a@b>, proto=ESMTP, daemon=MTA, relay=mail.example [${ip}]`
  const learner = learned(
    [
      from('6ARa1b2c000009', '198.51.100.7', 1),
      'Nov 27 09:15:03 mx sendmail[10]: 6ARa1b2c000009: to=<anna@example.test>, delay=00:00:01, mailer=local, dsn=2.0.0, stat=Sent',
      'Nov 27 09:15:03 mx sendmail[10]: 6ARa1b2c000009: to=<bert@example.test>, delay=00:00:01, mailer=local, dsn=2.0.0, stat=Sent',
      from('6ARa1b2c000010', '198.51.100.8', 1),
      'Nov 27 09:15:03 mx sendmail[9]: 6ARa1b2c000010: Milter: data, reject=554 5.7.1 Spam message rejected',
      from('6ARa1b2c000011', '198.51.100.9', 0),
      from('6ARa1b2c000012', 'IPv6:2001:db8:1:2::25', 1),
      'Nov 27 09:15:03 mx sm-mta[10]: 6ARa1b2c000012: to=<anna@example.test>, delay=00:00:01, mailer=local, dsn=2.0.0, stat=Sent',
      'Nov 27 09:15:04 mx sendmail[9]: 6ARa1b2c000013: ruleset=check_rcpt, arg1=<no@example.test>, relay=x.example [192.0.2.9], reject=550 5.1.1 <no@example.test>... User unknown',
    ].join('\n'),
  )
  const counts = [...learner.bySource].map(([source, { good, bad }]) => [source, good, bad])
  expect(counts).toEqual([
    ['198.51.100.7', 1, 0],
    ['198.51.100.8', 0, 1],
    ['2001:db8:1:2::/64', 1, 0],
    ['192.0.2.9', 0, 1],
  ])
})

describe("nobody teaches for another's address by words that end up in a log", () => {
  const POSTFIX = 'postfix/smtpd[77]:'
  const MINE = 'unknown[198.51.100.66]'
  const SENDMAIL = 'sm-mta[9]:'
  const rejected = (reply: string, from: string) =>
    `${POSTFIX} NOQUEUE: reject: RCPT from ${MINE}: 450 4.1.8 ${reply}: Sender address rejected: Domain not found; from=${from} to=<y@z>`
  const begun = (from: string, messageId: string) =>
    `${SENDMAIL} 6ARa1b2c000009: from=${from}, size=4, nrcpts=1, msgid=${messageId}, proto=ESMTP, daemon=MTA, relay=x [198.51.100.66]`
  const refused = 'ruleset=check_rcpt, arg1=<x>, relay=x [203.0.113.9], reject=550 5.1.1 No such user'

  test.each([
    [
      'commands sent too early',
      `${POSTFIX} improper command pipelining after CONNECT from ${MINE}: postfix/smtpd[1]: AAAAAA: client=x[203.0.113.9]`,
      `${POSTFIX} improper command pipelining after CONNECT from ${MINE}: postfix/qmgr[1]: AAAAAA: from=<>, size=1 (queue active)`,
    ],
    ['a sender with a line of sendmail', rejected('<x@y>', `<"${SENDMAIL} AAAAAAAAAA: ${refused}"@b.example>`)],
    [
      'senders with two lines of sendmail',
      rejected('<x@y>', `<"${SENDMAIL} AAAAAAAAAA: from=x, nrcpts=1, relay=x [203.0.113.9]"@b.example>`),
      rejected('<x@y>', `<"${SENDMAIL} AAAAAAAAAA: to=x, stat=Sent"@b.example>`),
    ],
    [
      'the words of a server that a bounce went to',
      `postfix/smtp[77]: 4Xy1: to=<a@b>, relay=x[198.51.100.66]:25, status=bounced (host x[198.51.100.66] said: 550 ${POSTFIX} NOQUEUE: reject: RCPT from x[203.0.113.9]: 550 5.1.1 User unknown`,
    ],
    [
      'a line of Postfix in one of sendmail',
      `${SENDMAIL} 6ARa1b2c000009: from=<"${POSTFIX} NOQUEUE: reject: RCPT from x[203.0.113.9]: 550 5.1.1 User unknown"@b>, nrcpts=0`,
    ],
    [
      'a recipient with a relay in it',
      `${SENDMAIL} 6ARa1b2c000009: ruleset=check_rcpt, arg1=<"a, relay=x [203.0.113.9], reject=550 5.1.1 User unknown"@b>, relay=x [198.51.100.66], reject=450 4.7.1 later`,
    ],
    [
      'another recipient with a relay in it',
      `${SENDMAIL} 6ARa1b2c000009: ruleset=check_rcpt, arg1=<"a>, relay=x [203.0.113.9], reject=550 5.1.1 User unknown"@b>, relay=x [198.51.100.66], reject=450 4.7.1 later`,
    ],
    [
      'a message id with a relay in it, where the relay has no address',
      begun('<a@b>', '<a, relay=x [203.0.113.9]>').replace(/ \[198.*$/, ''),
      `${SENDMAIL} 6ARa1b2c000009: to=<anna@example.test>, stat=Sent`,
    ],
    ['a line of Exim', `${POSTFIX} warning: H=(x) [203.0.113.9] F=<a@b> rejected RCPT <no@example.test>: Unknown user`],
  ])('%s', (_, ...lines) => {
    for (const host of ['mx ', '']) {
      const learner = learned(lines.map((line) => `Nov 27 09:15:02 ${host}${line}`).join('\n'))
      expect(tallyOf(learner, '203.0.113.9')).toBeUndefined()
    }
  })
})

describe('the plain form', () => {
  test('adds up, and the addresses of one /64 are one source', () => {
    const learner = learned(
      '# ip,accepted,rejected,last\n198.51.100.7,10,2,2026-11-20\n2001:db8::1,3,0,1795000000\n2001:db8::2,1,0,1795000001\n',
    )
    expect(tallyOf(learner, '198.51.100.7')).toMatchObject({
      good: 10,
      bad: 2,
      last: Date.parse('2026-11-20T12:00:00Z'),
    })
    expect(tallyOf(learner, '2001:db8::/64')).toMatchObject({ good: 4, last: 1_795_000_001_000 })
  })

  test.each([
    ['at noon', '2026-11-20', '2026-11-29T18:30:00Z', '2026-11-20T12:00:00Z'],
    ['now, in the morning of that day', '2026-11-29', '2026-11-29T00:00:30Z', '2026-11-29T00:00:30Z'],
    ['at noon, in the evening of that day', '2026-11-29', '2026-11-29T23:59:30Z', '2026-11-29T12:00:00Z'],
    ['now, where the day is still to come in UTC', '2026-11-29', '2026-11-28T19:00:00Z', '2026-11-28T19:00:00Z'],
    ['now, in seconds of a clock that is ahead', '1795869000', '2026-11-28T12:00:00Z', '2026-11-28T12:00:00Z'],
    ['with its time', '2026-11-20T09:00:00+01:00', '2026-11-29T18:30:00Z', '2026-11-20T08:00:00Z'],
  ])('the last message of a plain line came %s, and half of all KNOWN_DAYS before', (_, last, now, came) => {
    const tally = tallyOf(learned(`198.51.100.7,10,2,${last}`, Date.parse(now)), '198.51.100.7')
    expect(tally).toEqual({ good: 10, bad: 2, first: Date.parse(came) - 2 * 86_400_000, last: Date.parse(came) })
  })

  test.each([
    '198.51.100.7',
    '198.51.100.7,1,2',
    '198.51.100.999,1,2,2026-11-20',
    '198.51.100.7,-1,2,2026-11-20',
    'hello world',
  ])('no line of a log, and not plain: %s', (line) => {
    const learner = learned(line)
    expect(learner.lines.read).toEqual({ lines: 1, used: 0, foreign: 1, long: 0 })
    expect(learner.bySource.size).toBe(0)
  })
})

describe('a date without a year is the last one that is not in the future', () => {
  test.each([
    ['a day ahead is a clock that is wrong', 'Nov 28 11:00:00', [2026, 11, 27, 12], [2026, 11, 28, 11]],
    ['a month of last year', 'Dec  1 00:00:00', [2026, 11, 27], [2025, 12, 1]],
    ['a month of this year', 'Nov  1 00:00:00', [2026, 11, 27], [2026, 11, 1]],
    ['yesterday, on New Year’s Day', 'Dec 31 23:59:58', [2027, 1, 1], [2026, 12, 31, 23, 59, 58]],
    ['a clock that is ahead on New Year’s Eve', 'Jan  1 00:00:01', [2026, 12, 31, 23, 59, 59], [2027, 1, 1, 0, 0, 1]],
    ['February 29, long after', 'Feb 29 12:00:00', [2027, 3, 5], [2024, 2, 29, 12]],
    ['February 29, on the day', 'Feb 29 12:00:00', [2028, 2, 29, 13], [2028, 2, 29, 12]],
  ] as const)('%s', (_, date, now, then) => {
    const local = ([year, month, day, ...time]: readonly number[]) =>
      new Date(year as number, (month as number) - 1, day, ...(time as [number])).getTime()
    expect(dated(`${date} mx postfix`, local(now))).toEqual({ at: local(then), text: 'mx postfix' })
  })

  test('a date that no year has is none', () => {
    expect(dated('Feb 30 12:00:00 mx postfix', NOW)).toBeUndefined()
  })
})

describe('as the servers themselves write it', () => {
  const stops: (() => Promise<void>)[] = []
  afterAll(async () => {
    for (const stop of stops) await stop()
  })

  /** A message that is taken, and a recipient that is unknown. */
  async function visit(client: Client): Promise<void> {
    await client.command('EHLO mail.example')
    expect(await client.send('a@honest.example', 'anna@example.test')).toMatch(/^250/)
    await client.command('MAIL FROM:<a@honest.example>')
    expect(await client.command('RCPT TO:<nobody@example.test>')).toMatch(/^550/)
    await client.command('QUIT')
  }
  /** A mail server may write its log after its reply. */
  const seen = (log: () => string) =>
    eventually(
      () => tallyOf(learned(log(), Date.now()), '198.51.100.7'),
      (tally) => tally?.good === 1 && tally.bad === 1,
    )

  test('Postfix', async () => {
    const postfix = await startPostfix({ recipients: ['anna@example.test'], listeners: [{ kind: 'xclient' }] })
    stops.push(() => postfix.stop())
    const client = await connectClient(postfix.port('xclient'))
    await client.reply()
    for (const line of ['EHLO x', 'XCLIENT ADDR=198.51.100.7 NAME=mail.example']) await client.command(line)
    await visit(client)
    await postfix.waitForMessages('anna@example.test', 1)
    await seen(() => postfix.log())
  })

  test('Exim', async () => {
    const exim = await startExim({ recipients: ['anna@example.test'] })
    stops.push(() => exim.stop())
    const client = await connectClient(exim.port('haproxy'))
    client.write('PROXY TCP4 198.51.100.7 192.0.2.1 4000 25\r\n')
    await client.reply()
    await visit(client)
    await exim.waitForMessages('anna@example.test', 1)
    await seen(() => exim.log())
  })
})
