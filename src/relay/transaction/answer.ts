/**
 * What a client hears about its transaction. A mail server's words go to the client as they are if they fit what the client
 * asked. If they do not, or if there are none, the client hears a 451 and keeps the mail in its queue.
 */
import { type Refusal, refusal } from '../../core/policy.ts'
import { type AskedCommand, isAboutServer, isAboutUs, type Reply } from '../smtp/reply.ts'

/** A mail server's reply, with the command that it answers, or a refusal of ours. `upstream`: the mail server that was asked. */
export type Answer =
  | {
      readonly kind: 'reply'
      readonly to: AskedCommand
      readonly reply: Reply
      readonly upstream: string
    }
  | { readonly kind: 'refusal'; readonly refusal: Refusal; readonly upstream: string | undefined }

/** What became of a message after DATA was answered with 354. `unknown`: the mail server gave no verdict on it after the dot. */
export interface Final {
  readonly answer: Answer
  readonly result: 'accepted' | 'deferred' | 'rejected' | 'unknown'
  /** Milliseconds from the dot to the mail server's reply. */
  readonly ms: number
}

/** 451: the mail server said nothing that could be passed on. `why` is for the log. */
export const lost = (upstream: string | undefined, why: string): Answer => ({
  kind: 'refusal',
  refusal: refusal('upstream_lost', { why }),
  upstream,
})

const CLOSED_TO_US: Reply = { code: 451, lines: ['4.3.5 The mail server is not set up to take mail from here'] }

/** The first digit of an enhanced code must be that of its reply (RFC 3463 section 2). */
const forNow = (line: string): string => line.replace(/^5(?=\.[0-9]{1,3}\.[0-9]{1,3}\b)/, '4')

/**
 * What the client hears for a reply that did not grant a command. 421 is about the mail server's connection with us, not ours
 * with the client, and some 5yz are about the mail server itself. 2yz and 3yz out of place are not believed.
 */
export function asRefusal(reply: Reply, asked: AskedCommand): Reply {
  const { code, lines } = reply
  if (code < 400) return { code: 451, lines: ['4.3.0 The mail server answered out of turn'] }
  if (asked === 'mail' && isAboutUs(reply)) return CLOSED_TO_US
  return code === 421 || isAboutServer(reply, asked) ? { code: 451, lines: lines.map(forNow) } : reply
}
