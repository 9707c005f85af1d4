/**
 * What an upstream says out of turn, or in a malformed way, whether or not it owes a reply. If it can no longer be
 * followed, its connection is given up, and what it said counts only if it is a refusal.
 */
import type { Saying, Seen, Step } from './faults-table.ts'

export interface ReplyRow {
  readonly saying: Saying
  readonly at: readonly Step[]
  readonly seen: Omit<Seen, 'saw'>
  readonly why: string
}

const BEFORE_MAIL: readonly Step[] = ['greeting', 'EHLO', 'XCLIENT', 'second EHLO']
const UP_TO_MAIL: readonly Step[] = [...BEFORE_MAIL, 'MAIL']
const IN_BODY: readonly Step[] = ['middle of the body', 'before the dot']
/** To both recipients, and to DATA. */
const ALL = '451 4.3.0, 451 4.3.0, 451 4.5.0'

const refused = (hears: string, counted = 'deferred'): ReplyRow['seen'] => ({
  hears,
  message: 'none',
  counted,
  delivered: 0,
})
const truncated = (hears: string, counted = 'deferred'): ReplyRow['seen'] => ({
  hears,
  message: 'truncated',
  counted,
  delivered: 0,
})
const complete = (hears: string, counted: string): ReplyRow['seen'] => ({
  hears,
  message: 'complete',
  counted,
  delivered: 1,
})

const instead = (what: string, text: string | ((due: string) => string), after: Saying['after']): Saying => ({
  what,
  says: typeof text === 'string' ? () => text : text,
  after,
})
const BYTE_BY_BYTE: Saying = { what: 'every reply byte by byte', after: 'goes on', pieces: (reply) => [...reply] }
const THREE_LINES: Saying = {
  what: 'every reply in three lines',
  after: 'goes on',
  pieces: (reply) => [reply.replace(/^([0-9]{3}) (.*)\r\n$/m, '$1-$2\r\n$1-\r\n$1 more\r\n')],
}
const NO = instead('554 instead of its reply, then it closes', '554 5.7.1 no', 'closes')
const ANOTHER = instead('its reply, then another one', (due) => `${due}\r\n250 2.0.0 once more\r\n`, 'goes on')
const NONE = instead('a line that is no reply', 'HTTP/1.1 400 Bad Request', 'goes on')
const HALF = instead('half a reply, then it closes', (due) => `${due.slice(0, 3) || '554'}-half`, 'closes')
const GO_AHEAD = instead('354 instead of its reply', '354 go ahead', 'goes on')
const YES = instead('250 instead of its reply', '250 2.0.0 Ok', 'goes on')

/** The 421 of a server that closes, and of one that announces the close and stays. */
const leaves = (saying: Saying): readonly ReplyRow[] => [
  {
    saying,
    at: BEFORE_MAIL,
    seen: refused(ALL),
    why: 'A 421 is about its connection to us: the client hears 451, never 421.',
  },
  {
    saying,
    at: ['MAIL', 'first RCPT'],
    seen: refused('451 4.3.2, 451 4.3.2, 451 4.5.0'),
    why: 'Its words are passed on with 451, to every recipient of the transaction.',
  },
  {
    saying,
    at: ['second RCPT'],
    seen: refused('451 4.3.2, 451 4.3.2'),
    why: 'The recipient it had accepted is lost with the connection.',
  },
  { saying, at: ['DATA'], seen: refused('451 4.3.2'), why: 'Nothing of the text is sent.' },
  { saying, at: IN_BODY, seen: truncated('451 4.3.2'), why: 'It is a refusal. The client hears it at its dot.' },
  {
    saying,
    at: ['between dot and reply'],
    seen: complete('451 4.3.2', 'deferred'),
    why: 'A refusal is an answer, so there is no doubt.',
  },
]

export const REPLIES: readonly ReplyRow[] = [
  {
    saying: BYTE_BY_BYTE,
    at: ['greeting'],
    seen: complete('250 2.0.0', 'accepted'),
    why: 'TCP knows no lines. A reply is complete with its last line.',
  },
  {
    saying: THREE_LINES,
    at: ['greeting'],
    seen: complete('250 2.0.0', 'accepted'),
    why: 'RFC 5321 section 4.2.1.',
  },
  ...leaves(instead('421 instead of its reply, then it closes', '421 4.3.2 closing', 'closes')),
  ...leaves(instead('421 instead of its reply, then silence', '421 4.3.2 closing', 'is silent')),
  {
    saying: NO,
    at: BEFORE_MAIL,
    seen: refused(ALL),
    why: 'It refuses us, or does not let us speak for the client. That is no verdict on the mail.',
  },
  {
    saying: NO,
    at: ['MAIL'],
    seen: refused('554 5.7.1, 554 5.7.1, 554 5.5.1', 'rejected'),
    why: 'Its verdict on the sender.',
  },
  {
    saying: NO,
    at: ['first RCPT'],
    seen: refused('554 5.7.1, 451 4.3.0, 451 4.5.0'),
    why: 'Its verdict on that recipient. It said nothing about the other one.',
  },
  {
    saying: NO,
    at: ['second RCPT'],
    seen: refused('554 5.7.1, 451 4.3.0'),
    why: 'The same. The recipient it had accepted is lost.',
  },
  { saying: NO, at: ['DATA'], seen: refused('554 5.7.1', 'rejected'), why: 'Its verdict on the message.' },
  {
    saying: NO,
    at: IN_BODY,
    seen: truncated('554 5.7.1', 'rejected'),
    why: 'A server may refuse before it has read everything (a message too large). What it said before it closed counts.',
  },
  {
    saying: NO,
    at: ['between dot and reply'],
    seen: complete('554 5.7.1', 'rejected'),
    why: 'Its verdict on the message.',
  },
  {
    saying: ANOTHER,
    at: BEFORE_MAIL,
    seen: refused(ALL),
    why: 'It is no longer certain which reply answers which command.',
  },
  {
    saying: ANOTHER,
    at: ['MAIL', 'first RCPT'],
    seen: refused('451 4.3.0, 451 4.3.0'),
    why: 'The same. It is noticed at the next command, so that replies do not stay shifted by one.',
  },
  { saying: ANOTHER, at: ['second RCPT'], seen: refused('451 4.3.0'), why: 'The same.' },
  {
    saying: ANOTHER,
    at: ['DATA'],
    seen: refused('451 4.3.0'),
    why: 'A 250 before the dot never confirms the message.',
  },
  {
    saying: ANOTHER,
    at: IN_BODY,
    seen: truncated('451 4.3.0'),
    why: 'A 250 before the dot never confirms the message.',
  },
  {
    saying: ANOTHER,
    at: ['between dot and reply'],
    seen: complete('250 2.0.0', 'accepted'),
    why: 'The first is the answer. The connection serves no further message.',
  },
  { saying: NONE, at: [...UP_TO_MAIL, 'first RCPT'], seen: refused(ALL), why: 'Not a server to talk to.' },
  { saying: NONE, at: ['second RCPT'], seen: refused('451 4.3.0, 451 4.3.0'), why: 'The same.' },
  { saying: NONE, at: ['DATA'], seen: refused('451 4.3.0'), why: 'The same.' },
  { saying: NONE, at: IN_BODY, seen: truncated('451 4.3.0'), why: 'The same.' },
  {
    saying: NONE,
    at: ['between dot and reply'],
    seen: complete('451 4.3.0', 'unknown'),
    why: 'This is no answer to the dot, so there is doubt.',
  },
  {
    saying: HALF,
    at: [...UP_TO_MAIL, 'first RCPT'],
    seen: refused(ALL),
    why: 'A reply without its last line is no reply.',
  },
  { saying: HALF, at: ['second RCPT'], seen: refused('451 4.3.0, 451 4.3.0'), why: 'The same.' },
  { saying: HALF, at: ['DATA'], seen: refused('451 4.3.0'), why: 'The same.' },
  { saying: HALF, at: IN_BODY, seen: truncated('451 4.3.0'), why: 'The same, even if it is a refusal.' },
  {
    saying: HALF,
    at: ['between dot and reply'],
    seen: complete('451 4.3.0', 'unknown'),
    why: 'This is no answer to the dot, so there is doubt.',
  },
  {
    saying: GO_AHEAD,
    at: [...UP_TO_MAIL, 'first RCPT'],
    seen: refused(ALL),
    why: 'It expects text where we would send a command.',
  },
  { saying: GO_AHEAD, at: ['second RCPT'], seen: refused('451 4.3.0, 451 4.3.0'), why: 'The same.' },
  { saying: GO_AHEAD, at: IN_BODY, seen: truncated('451 4.3.0'), why: 'No command asked for it.' },
  {
    saying: GO_AHEAD,
    at: ['between dot and reply'],
    seen: complete('451 4.3.0', 'unknown'),
    why: 'It neither accepts nor refuses, so there is doubt.',
  },
  {
    saying: YES,
    at: ['greeting', 'EHLO', 'XCLIENT'],
    seen: refused(ALL),
    why: 'This is not the positive reply that is due: 220, or the list of extensions.',
  },
  {
    saying: YES,
    at: ['DATA'],
    seen: refused('451 4.3.0'),
    why: 'Without a 354 no text is sent and nothing is confirmed.',
  },
  {
    saying: YES,
    at: IN_BODY,
    seen: truncated('451 4.3.0'),
    why: 'A 250 before the dot never confirms the message.',
  },
]
