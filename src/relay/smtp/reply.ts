/**
 * A reply of a mail server, and what can be read from it: whether it ends the connection, whether it is about us rather than
 * about the mail, and whether it says that there is no such user.
 */

/** RFC 5321 section 4.2: all lines of a reply have the same code. `lines` without code and separator. */
export interface Reply {
  readonly code: number
  readonly lines: readonly string[]
}

/** The command that a reply answers, as far as it can be a verdict on somebody's mail. */
export type Asked = 'ehlo' | 'mail' | 'rcpt' | 'data' | 'dot'

/** At MAIL, 530 is a wish for TLS (RFC 3207 section 4) or a login (RFC 4954 section 6), and no verdict on anybody's mail. */
export const isAboutUs = ({ code }: Reply): boolean => code === 530

/**
 * RFC 3463: the system is full, takes no messages, is set up wrongly; its directory has failed, it is congested; a command out
 * of sequence, or not supported.
 */
const OF_THE_SERVER = /^5\.(3\.[125]|4\.[35]|5\.1)\b/

/**
 * Whether a 5yz is about the server, or about its session with us, and not about the mail: the same mail may be taken when
 * that has passed. MAIL and RCPT are said in their order, and DATA and the dot are our own words, so a server that finds them
 * out of order, or does not know them, says nothing of the client.
 */
export function isAboutServer({ code, lines }: Reply, asked: Asked): boolean {
  if (code < 500) return false
  const [first = ''] = lines
  if (OF_THE_SERVER.test(first)) return true
  if ((asked === 'data' || asked === 'dot') && (code < 505 || code === 530)) return true
  // OpenSMTPD says 503 5.5.4 to a parameter that it does not like. RFC 7504: at 521 the host takes no mail at all.
  return code === 502 || code === 521 || (code === 503 && !first.startsWith('5.5.4'))
}

/** After these the connection is of no more use: it is about to be closed, or its replies do not fit our commands. */
export const isLast = ({ code }: Reply): boolean => code === 421 || (code >= 300 && code < 400)

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
