/** Which reply of a mail server says what about the client. */
import { expect, test } from '@jest/globals'
import { type Evidence, evidenceOf } from '../../src/front/evidence.ts'
import { isCallout, lessonOf } from '../../src/front/lesson.ts'
import type { AskedCommand } from '../../src/relay/smtp/reply.ts'

test.each<[AskedCommand, number, string, Evidence]>([
  ['dot', 250, '2.0.0 queued', 'good'],
  ['rcpt', 250, '2.1.5 Ok', 'nothing'],
  ['mail', 250, '2.1.0 Ok', 'nothing'],
  ['rcpt', 550, '5.1.1 User unknown', 'bad'],
  ['rcpt', 550, 'No such user here', 'bad'],
  ['rcpt', 550, '5.1.10 Recipient has null MX', 'bad'],
  ['rcpt', 554, '5.7.1 Service unavailable; client blocked using a list', 'bad'],
  ['rcpt', 550, '5.7.23 SPF validation failed', 'bad'],
  ['mail', 554, '5.7.1 Sender is blocked', 'bad'],
  ['mail', 550, '5.1.8 Domain not found', 'bad'],
  ['rcpt', 550, '5.1.7 Bad sender', 'bad'],
  ['data', 554, '5.7.1 Refused', 'bad'],
  ['dot', 554, '5.7.1 This is spam', 'bad'],
  ['dot', 550, '5.6.0 Virus', 'bad'],
  ['dot', 554, 'Rejected: looks like spam', 'bad'],
  ['dot', 550, 'This message contains a virus', 'bad'],
  // Mailbox full, closed or too small a limit; the message itself.
  ['rcpt', 552, '5.2.2 Mailbox full', 'nothing'],
  ['rcpt', 550, '5.2.1 Mailbox disabled', 'nothing'],
  ['dot', 552, '5.2.2 Over quota', 'nothing'],
  ['dot', 552, 'Over quota', 'nothing'],
  ['dot', 552, '5.3.4 Message too big', 'nothing'],
  ['dot', 554, '5.6.1 Body type not supported', 'nothing'],
  ['dot', 550, '5.1.1 User unknown', 'nothing'],
  // Greylisting and load.
  ['rcpt', 450, '4.7.1 Greylisted', 'nothing'],
  ['rcpt', 450, '4.1.8 Domain not found', 'nothing'],
  ['rcpt', 451, '4.2.1 Try again', 'nothing'],
  ['rcpt', 452, '4.2.2 Mailbox full', 'nothing'],
  ['dot', 451, '4.7.1 Try again later', 'nothing'],
  ['dot', 451, '5.7.1 A code that does not fit', 'nothing'],
  ['mail', 421, '4.3.2 Shutting down', 'nothing'],
  // About the mail server, or about us.
  ['rcpt', 550, '5.3.2 System not accepting mail', 'nothing'],
  ['rcpt', 554, '5.4.3 Directory failure', 'nothing'],
  ['mail', 530, '5.7.0 Must issue STARTTLS', 'nothing'],
  ['rcpt', 521, '5.7.1 This host takes no mail', 'nothing'],
  ['data', 503, 'Bad sequence', 'nothing'],
  // Nothing tells what it is about.
  ['rcpt', 550, 'Rejected', 'nothing'],
  ['rcpt', 554, 'Listed at a list', 'nothing'],
])('%s: %i %s says %s', (asked, code, line, says) => {
  expect(evidenceOf(asked, { code, lines: [line] })).toBe(says)
})

test('a reply that accepts a message and says that it is junk is bad, where the operator knows its words', () => {
  const junk = { code: 250, lines: ['2.0.0 Ok: queued', 'as 4XyZ (Junk)'] }
  expect(evidenceOf('dot', junk, /\(junk\)/i)).toBe('bad')
  expect(evidenceOf('dot', junk, /\(spam\)/i)).toBe('good')
  expect(evidenceOf('rcpt', junk, /\(junk\)/i)).toBe('nothing')
  expect(lessonOf({ standing: 'new' }, 'accepted', 'bad', { taken: 1, spared: 0, bad: 0 })).toEqual({ good: 0, bad: 1 })
})

test.each([
  ['an accepted message', 'accepted', 'good', { taken: 1, spared: 0, bad: 0 }, { good: 1, bad: 0 }],
  [
    'a message that was refused for its content',
    'rejected',
    'bad',
    { taken: 1, spared: 0, bad: 0 },
    { good: 0, bad: 1 },
  ],
  ['one unknown recipient alone', 'rejected', 'nothing', { taken: 0, spared: 0, bad: 1 }, { good: 0, bad: 1 }],
  ['fifty unknown recipients', 'rejected', 'nothing', { taken: 0, spared: 0, bad: 50 }, { good: 0, bad: 5 }],
  ['a harvest behind one valid recipient', 'accepted', 'good', { taken: 1, spared: 0, bad: 49 }, { good: 1, bad: 4.9 }],
  ['a list with 2 % dead subscribers', 'accepted', 'good', { taken: 98, spared: 0, bad: 2 }, { good: 1, bad: 0.04 }],
  ['a harvest that is given up', 'aborted', 'nothing', { taken: 1, spared: 0, bad: 9 }, { good: 0, bad: 4.5 }],
  ['a message to postmaster alone', 'accepted', 'good', { taken: 1, spared: 1, bad: 0 }, { good: 0, bad: 0 }],
  ['one to postmaster and to others', 'accepted', 'good', { taken: 2, spared: 1, bad: 0 }, { good: 1, bad: 0 }],
  ['a message that was put off', 'deferred', 'nothing', { taken: 1, spared: 0, bad: 0 }, { good: 0, bad: 0 }],
  ['a message of which nobody knows', 'unknown', 'nothing', { taken: 1, spared: 0, bad: 0 }, { good: 0, bad: 0 }],
] as const)('%s', (_, result, evidence, recipients, lesson) => {
  expect(lessonOf({ standing: 'new' }, result, evidence, recipients)).toEqual(lesson)
})

test('of a known client only its messages are judged: anybody can make it name users that do not exist', () => {
  const known = { standing: 'known' } as const
  expect(lessonOf(known, 'rejected', 'nothing', { taken: 0, spared: 0, bad: 50 })).toEqual({ good: 0, bad: 0 })
  expect(lessonOf(known, 'rejected', 'bad', { taken: 1, spared: 0, bad: 0 })).toEqual({ good: 0, bad: 1 })
})

test('a callout has a null sender and one recipient', () => {
  expect(isCallout({ from: '', rcpts: 1 })).toBe(true)
  expect(isCallout({ from: '', rcpts: 2 })).toBe(false)
  expect(isCallout({ from: 'a@example.org', rcpts: 1 })).toBe(false)
})
