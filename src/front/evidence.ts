/**
 * What a mail server's reply says about the client, for the history of clients: good, bad, or nothing. It is taken from
 * the code and the enhanced status code (RFC 3463); words count only where there is no such code.
 *
 *     the reply                                    says      because
 *     2yz to the dot                               good      the cluster has taken the message
 *     4yz to anything                              nothing   greylisting (4.7.1), a mailbox that is full for now (4.2.2), load
 *     5yz that is about the mail server            nothing   relay/smtp/reply.ts: isAboutServer, isAboutUs
 *     RCPT: unknown user                           bad       relay/smtp/reply.ts: isUnknownUser
 *     5.7.x to MAIL, RCPT, DATA or the dot         bad       refused by policy: the client, its sender or the content
 *     5.1.7, 5.1.8 to MAIL or RCPT                 bad       the sender's address cannot be right
 *     5.6.0 to DATA or the dot                     bad       the content, as filters say it
 *     550, 554 without a status code, to the dot   bad       the content: nothing else is left to refuse
 *     any other 5yz: 5.2.x, 5.3.4, 5.6.1 ...       nothing   mailbox full or closed, message too large, 8BITMIME ...
 *
 * A message that was accepted is good even if the cluster files it as junk, unless its reply says so in words that the operator
 * knows (HISTORY_BAD_REPLY). What is heard while the directory of the cluster has failed is left out by recipient.ts, and what
 * callouts hear by outcome.ts.
 */
import { type AskedCommand, isAboutServer, isAboutUs, isUnknownUser, type Reply } from '../relay/smtp/reply.ts'

export type Evidence = 'good' | 'bad' | 'nothing'

const STATUS = /^5\.(?<subject>\d{1,3})\.(?<detail>\d{1,3})\b/
const OF_SENDER = ['7', '8']

/**
 * @param asked the command that the reply answers
 * @param reply as the client hears it
 * @param badReply HISTORY_BAD_REPLY: what accepts a message and says that it is bad
 */
export function evidenceOf(asked: AskedCommand, reply: Reply, badReply?: RegExp): Evidence {
  const { code, lines } = reply
  const isText = asked === 'data' || asked === 'dot'
  if (code < 300) {
    if (asked !== 'dot') return 'nothing'
    return badReply !== undefined && lines.some((line) => badReply.test(line)) ? 'bad' : 'good'
  }
  if (code < 500 || isAboutServer(reply, asked) || isAboutUs(reply)) return 'nothing'
  if (asked === 'rcpt' && isUnknownUser(reply)) return 'bad'
  const { subject, detail } = STATUS.exec(lines[0] ?? '')?.groups ?? {}
  if (subject === undefined) return isText && (code === 550 || code === 554) ? 'bad' : 'nothing'
  if (subject === '7') return 'bad'
  if (subject === '1') return !isText && OF_SENDER.includes(detail ?? '') ? 'bad' : 'nothing'
  return subject === '6' && detail === '0' && isText ? 'bad' : 'nothing'
}
