/**
 * The words of the table of faults: where a fault strikes, which faults there are, and what each side must see of them.
 * The cells are in faults-client.ts and faults-upstream.ts. docs/faults.md is written from them, and faults.test.ts
 * plays each.
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

/** An upstream that breaks the protocol, at the step where it owes a reply. */
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
  /** What the struck upstream got of the message: all of it with its dot, a part without the dot, or nothing. */
  readonly message: 'none' | 'truncated' | 'complete'
  /** Messages by their result in `spillway_messages_total`, and in `spillway_messages_client_left_total`. */
  readonly counted: string
  /** Messages, with their dot, that all upstreams got together. */
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
  /** Whether there is a second upstream, without a fault. */
  readonly failover: boolean
}

/** Why a cell is right. */
export const WHY = {
  'no mail':
    'No mail was begun. A mail server is contacted with the first recipient, and a message without one is not counted.',
  idle: 'It is the client’s turn. It has the time that RFC 5321 section 4.5.3.2.7 asks for. Then it hears 421, so that it knows, and the connection is closed.',
  'no more':
    'A FIN says only that nothing more will come (RFC 9293 section 3.6). What the client asked before it is answered, and then our side is closed as well. A client that has closed both directions looks the same, and holds its seat until then.',
  'gone at once':
    'A reset is seen at once, even while we wait for the mail server’s answer. Seat and slot are free before that answer comes.',
  unread:
    'While the mail server does not read what it was sent, nothing more is read from the client. So a FIN is seen only when the mail server goes on or is given up. Spillway checks for a reset every second.',
  'given up':
    'The transaction is cancelled (RFC 5321 section 4.1.1.10). It is counted as aborted if the mail server had accepted a recipient.',
  'no dot':
    'The text is incomplete, so the mail server is left without a dot. A message that does not end is not delivered (section 4.1.1.4).',
  'no end':
    'By its FIN the client has said that the end will not come, and SMTP has no reply to half a text. It is treated as a client that has left.',
  'past the dot':
    'The whole message was handed over. Spillway waits for the mail server’s answer and records it, whatever the client does. The client’s seat is free at once, and the slot when the answer comes.',
  'not heard':
    'A client that has closed both directions does not hear the 250 and sends again. The message is then there twice, which nobody in between can prevent (RFC 1047). `spillway_messages_client_left_total` counts it. A client that has closed only its own direction looks the same.',
  delivered: 'The mail server has the message, and the client has heard so. Leaving without QUIT takes nothing back.',
  'another one':
    'The mail server had not accepted MAIL, so another one may be tried (the next table). Here there is no other, and the recipient hears 451: RFC 5321 section 3.8 has a client treat a lost connection in the same way.',
  'asked another':
    'The mail server had not accepted MAIL, so the other one is tried within the same RCPT. The client notices only the delay.',
  'MAIL was taken':
    'The mail server had accepted MAIL and may have acted on it, so no other is tried. This recipient, all later ones and DATA hear 451.',
  'nothing began': 'No 354 came, so nothing of the text is sent. The message is deferred, and the session goes on.',
  'heard at the dot':
    'SMTP has no reply in the middle of a text, so the client hears 451 at its dot. The mail server has seen no dot. It is left at once and its slot is free, however long the client takes.',
  doubt:
    'The dot was sent and no answer came, so nobody knows what became of the message. The client hears 451, and the message is counted as `unknown` and logged. The client sends again; twice is better than never (RFC 1047).',
  replaced:
    'The client heard 250 in time. The connection to the mail server cannot be used again, so the next message of the session goes over a new one.',
} as const
export type Why = keyof typeof WHY

/** All commands up to and including one, as an upstream hears them. */
export const UPSTREAM_HEARS = {
  hello: 'EHLO XCLIENT EHLO',
  'first RCPT': 'EHLO XCLIENT EHLO MAIL RCPT',
  'second RCPT': 'EHLO XCLIENT EHLO MAIL RCPT RCPT',
  DATA: 'EHLO XCLIENT EHLO MAIL RCPT RCPT DATA',
} as const
