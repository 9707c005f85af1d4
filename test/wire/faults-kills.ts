/**
 * The node itself is killed, by SIGKILL or by the kernel when memory runs out. It has no time to say or write anything.
 * It stores nothing, so nothing can be lost with it. What matters is that no upstream takes a part of a message for the
 * whole.
 */
import type { Seen, Step } from './faults-table.ts'

export interface Kill {
  readonly step: Step
  /** Whether the client heard 250 and so does not send again. */
  readonly confirmed: boolean
  readonly message: Seen['message']
  /** How often the message is in the mailbox after the client has sent it again, if it did not hear 250. */
  readonly delivered: 1 | 2
  readonly why: string
  /** Whether it is also shown with a Postfix. */
  readonly postfix: boolean
}

export const KILLS: readonly Kill[] = [
  {
    step: 'first RCPT',
    confirmed: false,
    message: 'none',
    delivered: 1,
    why: 'Nothing was handed over.',
    postfix: false,
  },
  {
    step: 'middle of the body',
    confirmed: false,
    message: 'truncated',
    delivered: 1,
    why: 'The mail server saw no dot and throws away what it has (RFC 5321 section 4.1.1.10).',
    postfix: true,
  },
  {
    step: 'before the dot',
    confirmed: false,
    message: 'truncated',
    delivered: 1,
    why: 'The same: even the whole text is no message without its dot.',
    postfix: false,
  },
  {
    step: 'between dot and reply',
    confirmed: false,
    message: 'complete',
    delivered: 2,
    why: 'The mail server has the whole message and delivers it. Nobody is left to tell the client, which sends again. This is the one doubt that SMTP leaves (RFC 1047); it lasts as long as the mail server takes to answer. Nothing was written down, so it is in no log and no counter of this node.',
    postfix: true,
  },
  {
    step: 'after the reply',
    confirmed: true,
    message: 'complete',
    delivered: 1,
    why: 'The client has heard 250 and does not send again.',
    postfix: false,
  },
]
