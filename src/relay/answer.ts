/**
 * What a client is to hear of its transaction. An upstream's words go to the client as they are, where they fit what the
 * client asked; where they do not, and where there are none, it hears a 451: for its queue the mail is still to be sent.
 */
import { type Refusal, refusal } from '../core/policy.ts'
import type { Reply } from './smtp-client.ts'

/** An upstream's words, with the command they answer, or a refusal of ours. `upstream`: who was asked. */
export type Answer =
  | {
      readonly kind: 'reply'
      readonly to: 'ehlo' | 'mail' | 'rcpt' | 'data' | 'dot'
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

/** At MAIL, 530 is a wish for TLS (RFC 3207 section 4) or a login (RFC 4954 section 6), and no verdict on anybody's mail. */
export const isAboutUs = ({ code }: Reply): boolean => code === 530

export const CLOSED_TO_US: Reply = { code: 451, lines: ['4.3.5 The mail server is not set up to take mail from here'] }

/** An upstream's 421 is about its connection to us, not ours to the client; 2yz and 3yz out of place are not believed. */
export const asRefusal = (reply: Reply): Reply => {
  if (reply.code < 400) return { code: 451, lines: ['4.3.0 The mail server answered out of turn'] }
  return reply.code === 421 ? { code: 451, lines: reply.lines } : reply
}

/** After these the connection is of no more use: it is about to be closed, or its replies do not fit our commands. */
export const isLast = ({ code }: Reply): boolean => code === 421 || (code >= 300 && code < 400)

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const WHO = /user|person|recipient|mailbox|inbox|account|address|alias|local.?part|@/i
const IS_NOT =
  /\b(no|not|isn't|doesn't|don't|cannot|unknown|invalid|bad|rejected|non-?existent|unavailable|undeliverable|unrout(e)?able|verification failed)\b/i
/** The sender, the client and its name, lists, load and rules are refused in much the same words. */
const OTHERWISE =
  /sender|client|helo|relay|spam|polic|reput|block|denied|deny|prohibit|quota|full|bounce|later|(?<!not )listed|list at|\b(ip|r?dns|ptr|reverse)\b|\byour (host|server|address)|\bhost \S+\./i

/**
 * Whether a reply to RCPT says that there is no such recipient. RFC 3463 section 3.2: 5.1.x is about addresses, of which 7
 * and 8 are the sender's. Without an enhanced code, and behind the vague 5.1.0, only the words tell: Exim says a bare 550
 * for a sender it does not believe, and for a client on a list, as for a recipient it does not know.
 */
export function isUnknownUser({ code, lines }: Reply): boolean {
  if (code !== 550 && code !== 551 && code !== 553) return false
  const [, enhanced, detail] = /^(5\.[0-9]+\.([0-9]+))\b/.exec(lines[0] ?? '') ?? []
  if (enhanced !== undefined && !enhanced.startsWith('5.1.')) return false
  if (enhanced !== undefined && detail !== '0') return detail !== '7' && detail !== '8'
  // What stands there of the recipient's address is the client's choice.
  const words = lines
    .join(' ')
    .replace(/"[^"]*"@/g, '@')
    .split(' ')
    .map((word) => (word.includes('@') ? '@' : word))
    .join(' ')
  return WHO.test(words) && IS_NOT.test(words) && !OTHERWISE.test(words)
}
