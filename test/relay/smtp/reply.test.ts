import { describe, expect, test } from '@jest/globals'
import { type AskedCommand, isAboutServer, isDrop, isUnknownUser } from '../../../src/relay/smtp/reply.ts'

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

describe('R47 whether a 5yz is about the server and not about the mail', () => {
  const ALL: readonly AskedCommand[] = ['mail', 'rcpt', 'data', 'dot']
  test.each<[string, readonly AskedCommand[]]>([
    ['502 5.5.1 Error: command not implemented', ALL],
    ['502 unimplemented', ALL],
    ['503 5.5.1 Error: nested MAIL command', ALL],
    ['503 bad sequence of commands', ALL],
    ['503 5.5.4 Invalid command arguments: Unsupported option X', ['data', 'dot']],
    ['500 5.5.1 Invalid command: Command unrecognized', ALL],
    ['500 5.5.2 Error: bad UTF-8 syntax', ['data', 'dot']],
    ['501 5.5.4 Syntax: DATA', ['data', 'dot']],
    ['504 5.5.4 not that', ['data', 'dot']],
    ['521 5.3.2 host does not accept mail', ALL],
    ['521 no', ALL],
    ['530 5.7.0 Must issue a STARTTLS command first', ['data', 'dot']],
    ['552 5.3.1 Insufficient system storage', ALL],
    ['554 5.3.2 System not accepting messages', ALL],
    ['554 5.3.5 Local configuration error', ALL],
    ['550 5.4.3 Directory server failure', ALL],
    ['554 5.4.5 congested', ALL],
    ['554 5.5.1 Error: no valid recipients', ALL],
    ['550 5.1.1 no such user', []],
    ['550 5.2.1 mailbox disabled', []],
    ['550 5.3.0 rejected', []],
    ['552 5.3.4 too large', []],
    ['550 5.4.1 Recipient address rejected: Access denied', []],
    ['554 5.4.6 too many hops', []],
    ['554 5.6.0 bad content', []],
    ['554 5.7.1 no', []],
    ['550 no', []],
    ['553 no', []],
    ['554 no', []],
    ['556 5.1.10 null MX', []],
    ['421 4.3.2 closing', []],
    ['451 4.3.0 not now', []],
    ['250 2.0.0 Ok', []],
  ])('%s', (text, expected) => {
    expect(ALL.filter((asked) => isAboutServer(read(text), asked))).toEqual(expected)
  })
})

describe('whether a reply says that the server has more than it can do', () => {
  const ASKED = ['greeting', 'mail', 'rcpt', 'data', 'dot'] as const
  test.each<[string, readonly (typeof ASKED)[number][]]>([
    ['421 4.3.2 too many connections', ASKED],
    ['421 no', ASKED],
    ['451 4.3.0 queue file write error', ASKED],
    ['452 4.3.1 insufficient system storage', ASKED],
    ['451 4.4.2 timeout', ASKED],
    ['450 4.4.3 directory server failure', ASKED],
    ['450 not now', ['greeting']],
    ['451 Please try again later', ['greeting']],
    ['452 not now', ['greeting', 'dot']],
    ['421 4.7.0 too many errors', []],
    ['451 4.6.0 not now', ['greeting', 'dot']],
    ['450 4.2.0 greylisted', []],
    ['452 4.2.2 mailbox full', []],
    ['450 4.1.2 sender address rejected: domain not found', []],
    ['450 4.7.1 client host rejected: greylisted', []],
    ['550 5.3.0 no', []],
    ['554 no', []],
    ['250 2.0.0 Ok', []],
    ['354 go on', []],
  ])('%s', (text, expected) => {
    expect(ASKED.filter((asked) => isDrop(read(text), asked))).toEqual(expected)
  })
})
