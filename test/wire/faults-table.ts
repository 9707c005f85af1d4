/**
 * What the table of faults is made of: where a fault strikes, which there are, and what everybody has to see of it. The
 * cells stand in faults-client.ts, faults-upstream.ts and faults-failover.ts; docs/faults.md is written from them, and
 * faults.test.ts plays each.
 */
export const STEPS = [
  'connect',
  'greeting',
  'EHLO',
  'XCLIENT',
  'second EHLO',
  'MAIL',
  'first RCPT',
  'second RCPT',
  'DATA',
  'middle of the body',
  'while the upstream does not read',
  'before the dot',
  'between dot and reply',
  'after the reply',
] as const
export type Step = (typeof STEPS)[number]

export const FAULTS = {
  close: 'closes the connection in both directions (FIN)',
  reset: 'resets it (RST)',
  'half-close': 'closes its own direction and goes on reading (FIN)',
  stall: 'falls silent; the connection stays open',
} as const
export type Fault = keyof typeof FAULTS

/** An upstream that does not keep to the protocol, at the step where it owes a reply. */
export interface Saying {
  readonly what: string
  /** Instead of the reply that is due. */
  readonly says?: (due: string) => string
  readonly after: 'goes on' | 'closes' | 'is silent'
  /** Cuts up every reply of the session. */
  readonly pieces?: (reply: string) => readonly string[]
}

/** What a cell shows. */
export interface Seen {
  /** Replies from the fault on, code and enhanced code, and how the connection ends. Empty: the client is gone. */
  readonly hears: string
  /** Commands that the struck upstream connection heard. */
  readonly saw: string
  /** What of the message came to the struck upstream: all of it with its dot, a part without, or nothing. */
  readonly message: 'none' | 'truncated' | 'complete'
  /** Messages by their result in `spillway_messages_total`, and in `spillway_messages_client_left_total`. */
  readonly counted: string
  /** Messages, with their dot, that came to all upstreams. */
  readonly delivered: number
}

export interface Expected extends Seen {
  readonly why: readonly Why[]
}

export interface Row {
  readonly step: Step
  /** What ends the stall, and how long that is by default. */
  readonly stallEnds: string
  readonly cells: Readonly<Record<Fault, Expected>>
}

export interface Cell {
  readonly side: 'client' | 'upstream'
  readonly step: Step
  readonly fault: Fault | Saying
  /** Whether there is a second upstream, which is well. */
  readonly failover: boolean
}

/** Why a cell is right. */
export const WHY = {
  'no mail':
    'No mail was begun: an upstream is reached with the first recipient, and a message without one is not counted.',
  idle: 'It is the client’s turn, and it is given the time that RFC 5321 section 4.5.3.2.7 asks for; then 421, so that it knows, and the close.',
  'no more':
    'A FIN says only that nothing more will come (RFC 9293 section 3.6): what was asked before it is answered, then our side is closed as well. A client that has closed both directions looks the same, and holds its seat until then.',
  'gone at once':
    'A reset is seen at once, also while the upstream’s answer is awaited: seat and slot are free before it comes.',
  unread:
    'Behind bytes that the upstream does not take nothing is read of the client, so that a FIN is seen only when the upstream goes on or is given up. A reset is looked for every second.',
  'given up':
    'The transaction is cancelled (RFC 5321 section 4.1.1.10), and counted as aborted where the upstream had taken a recipient.',
  'no dot':
    'The text is not whole, so the upstream is left without a dot, and a message that does not end is not delivered (section 4.1.1.4).',
  'no end':
    'The client has said itself that the end will not come, and SMTP has no reply to half a text: it is closed as one that has left.',
  'past the dot':
    'All of the message was handed over: the upstream’s answer is awaited and recorded whatever the client does. Its seat is free at once, the upstream’s slot with the answer.',
  'not heard':
    'Who has closed both directions does not hear the 250, sends again, and the message is there twice, which nobody between them can prevent (RFC 1047); `spillway_messages_client_left_total` counts it. Who has closed only his own looks the same.',
  delivered: 'The message is the upstream’s, and the client has heard so; leaving without QUIT takes nothing back.',
  'another one':
    'It had not taken MAIL, so another may be asked (the next table). Here there is none, and the recipient hears 451: as RFC 5321 section 3.8 has a client treat a lost connection.',
  'asked another':
    'It had not taken MAIL, so the other one is asked within the same RCPT; the client notices nothing but the time.',
  'MAIL was taken':
    'It had taken MAIL and may have acted on it, so no other is asked: this recipient, all that follow and DATA hear 451.',
  'nothing began': 'No 354 came, so nothing of the text is sent: the message is put off, and the session goes on.',
  'heard at the dot':
    'SMTP has no reply in the middle of a text: the client hears 451 at its dot, and the upstream has seen none. It is left at once, and its slot is free, however long the client takes.',
  doubt:
    'The dot was sent and no answer came, so nobody knows what became of the message: 451, counted as `unknown`, told in the log. The client sends again; twice is better than never (RFC 1047).',
  replaced:
    'The client heard 250 in time. The connection is good for nothing more; the next message of the session comes over a new one.',
} as const
export type Why = keyof typeof WHY

/** All commands up to and including one, as an upstream hears them. */
export const UPSTREAM_HEARS = {
  hello: 'EHLO XCLIENT EHLO',
  'first RCPT': 'EHLO XCLIENT EHLO MAIL RCPT',
  'second RCPT': 'EHLO XCLIENT EHLO MAIL RCPT RCPT',
  DATA: 'EHLO XCLIENT EHLO MAIL RCPT RCPT DATA',
} as const
