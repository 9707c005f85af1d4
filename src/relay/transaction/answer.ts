/**
 * What a client is to hear of its transaction. An upstream's words go to the client as they are, where they fit what the
 * client asked; where they do not, and where there are none, it hears a 451: for its queue the mail is still to be sent.
 */
import { type Refusal, refusal } from '../../core/policy.ts'
import { type Asked, isAboutServer, isAboutUs, type Reply } from '../smtp/reply.ts'

/** An upstream's words, with the command they answer, or a refusal of ours. `upstream`: who was asked. */
export type Answer =
  | {
      readonly kind: 'reply'
      readonly to: Asked
      readonly reply: Reply
      readonly upstream: string
    }
  | { readonly kind: 'refusal'; readonly refusal: Refusal; readonly upstream: string | undefined }

/** What became of a message after DATA was answered with 354. `unknown`: the upstream never answered the dot. */
export interface Final {
  readonly answer: Answer
  readonly result: 'accepted' | 'deferred' | 'rejected' | 'unknown'
  /** Milliseconds from the dot to the upstream's reply. */
  readonly ms: number
}

/** 451: the upstream said nothing that could be passed on. `why` is for the log. */
export const lost = (upstream: string | undefined, why: string): Answer => ({
  kind: 'refusal',
  refusal: refusal('upstream_lost', { why }),
  upstream,
})

const CLOSED_TO_US: Reply = { code: 451, lines: ['4.3.5 The mail server is not set up to take mail from here'] }

/** The class of an enhanced code is the first digit of its reply (RFC 3463 section 2). */
const forNow = (line: string): string => line.replace(/^5(?=\.[0-9]{1,3}\.[0-9]{1,3}\b)/, '4')

/**
 * What a reply that did not grant a command is to the client. 421 is about the upstream's connection to us, not ours to the
 * client, and some 5yz are about the upstream itself; 2yz and 3yz out of place are not believed.
 */
export function asRefusal(reply: Reply, asked: Asked): Reply {
  const { code, lines } = reply
  if (code < 400) return { code: 451, lines: ['4.3.0 The mail server answered out of turn'] }
  if (asked === 'mail' && isAboutUs(reply)) return CLOSED_TO_US
  return code === 421 || isAboutServer(reply, asked) ? { code: 451, lines: lines.map(forNow) } : reply
}
