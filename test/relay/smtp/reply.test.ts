import { describe, expect, test } from '@jest/globals'
import { isUnknownUser } from '../../../src/relay/smtp/reply.ts'

/** As a server says it, all lines of one reply. */
const read = (text: string) => {
  const lines = text.split('\n')
  return { code: Number(lines[0]?.slice(0, 3)), lines: lines.map((line) => line.slice(4)) }
}

describe('R43 whether a refusal at RCPT means that there is no such recipient', () => {
  test.each([
    '550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table',
    '550 5.1.1 nobody',
    '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup',
    '551 5.1.6 Moved',
    '550 5.1.0 Address rejected.',
    '550 Unrouteable address',
    '550 Invalid recipient: <nobody@example.test>',
    '550 No such person here: mailbox unavailable',
    '553 sorry, no mailbox here by that name',
    '550 Invalid recipient: <u1+spam@policy.example>',
    '550 Invalid recipient: <"sender relay"@helo.example>',
    '550-Callout verification failed:\n550 550 5.1.1 no such user',
    '550 User not listed',
    '550 No such user here',
    '550 unknown local-part "nobody" in domain "example.test"',
    '550 Requested action not taken: mailbox unavailable',
    '550 That email account does not exist',
    '550 user not found',
    "550 I don't know that mailbox",
    '550 sorry, no such address here',
    '550 Nonexistent user',
    '550 non-existent mailbox',
    '550 <nobody@example.test> does not exist',
    '550 <nobody@example.test> unknown',
    '550 No such user at this host',
    '550 recipient does not exist on this host',
    '550 No such user; check your spelling',
  ])('%s', (text) => expect(isUnknownUser(read(text))).toBe(true))

  test.each([
    '450 4.1.1 <nobody@example.test>: User unknown',
    '554 5.7.1 <x@elsewhere.example>: Relay access denied',
    '550 5.7.1 <x@elsewhere.example>: User unknown, by policy',
    '550 5.1.8 <s@nowhere.invalid>: Sender address rejected: Domain not found',
    '553 5.1.7 <s>: Sender address rejected: not fully qualified',
    '550 5.1.0 <s@nowhere.invalid>: Sender address rejected: User unknown in local recipient table',
    '550-Verification failed for <s@nowhere.invalid>\n550-Unrouteable address\n550 Sender verify failed',
    '550 relay not permitted',
    '550 rejected because 192.0.2.1 is in a black list at bl.example',
    '550 Host address is listed at bl.example',
    '550 HELO name does not exist',
    '550 Administrative prohibition',
    '550 <user@example.test>: Administrative prohibition',
    '552 5.2.2 mailbox full',
    '550 Your IP address has no PTR record',
    '550 Access denied - no reverse DNS for your IP address',
    '550 Your IP address is blocked',
    '550 Mailbox quota exceeded',
    '550 Rejected, host mail.unknown.example has a bad reputation',
    '550 This mailbox takes no bounces',
    '550 This account accepts mail from known senders only',
  ])('not %s', (text) => expect(isUnknownUser(read(text))).toBe(false))
})
