/**
 * The node itself is killed (SIGKILL, or the kernel for want of memory): it has no time to say or write anything. Nothing
 * is stored in it, so that nothing can be lost with it; what matters is that no upstream takes a part for the whole.
 */
import type { Seen, Step } from './faults-table.ts'

export interface Kill {
  readonly step: Step
  /** Whether the client is owed nothing more: it heard 250 and does not send again. */
  readonly confirmed: boolean
  readonly message: Seen['message']
  /** How often the message is in the mailbox when the client has sent again what it did not hear 250 for. */
  readonly delivered: 1 | 2
  readonly why: string
  /** Whether it is shown with a Postfix as well. */
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
    why: 'The upstream saw no dot and throws away what it has (RFC 5321 section 4.1.1.10).',
    postfix: true,
  },
  {
    step: 'before the dot',
    confirmed: false,
    message: 'truncated',
    delivered: 1,
    why: 'The same: all of the text is not a message without its dot.',
    postfix: false,
  },
  {
    step: 'between dot and reply',
    confirmed: false,
    message: 'complete',
    delivered: 2,
    why: 'The upstream has all of it and delivers it, and nobody is left to tell the client, which sends again. It is the one doubt that SMTP leaves (RFC 1047), as short as the upstream’s answer takes; nothing was written down, so it is in no log and no counter of this node.',
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
