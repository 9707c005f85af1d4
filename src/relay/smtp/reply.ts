/**
 * A mail server's reply, and what it tells us: whether it ends the connection, whether it is about us rather than about the mail,
 * and whether it says that there is no such user.
 */

/** RFC 5321 section 4.2: all lines of a reply have the same code. `lines` leaves out the codes and separators. */
export interface Reply {
  readonly code: number
  readonly lines: readonly string[]
}

/** The command that a reply answers, of those whose reply can be a verdict on a client's mail. */
export type AskedCommand = 'ehlo' | 'mail' | 'rcpt' | 'data' | 'dot'

/** At MAIL, 530 demands TLS (RFC 3207 section 4) or a login (RFC 4954 section 6). It is no verdict on anybody's mail. */
export const isAboutUs = ({ code }: Reply): boolean => code === 530

/**
 * RFC 3463: the system is full, takes no messages, or is misconfigured (5.3.1, 5.3.2, 5.3.5); its directory has failed, or it is
 * congested (5.4.3, 5.4.5); a command is out of sequence or not supported (5.5.1).
 */
const OF_THE_SERVER = /^5\.(3\.[125]|4\.[35]|5\.1)\b/

/**
 * Whether a 5yz is about the server or its session with us, and not about the mail. The same mail may be taken later. We send
 * MAIL and RCPT in order, and DATA and the dot are our own words, so a server that finds them out of sequence, or does not know
 * them, says nothing about the client.
 */
export function isAboutServer({ code, lines }: Reply, asked: AskedCommand): boolean {
  if (code < 500) return false
  const [first = ''] = lines
  if (OF_THE_SERVER.test(first)) return true
  if ((asked === 'data' || asked === 'dot') && (code < 505 || code === 530)) return true
  // OpenSMTPD answers a parameter that it does not like with 503 5.5.4. RFC 7504: 521 says that the host takes no mail at all.
  return code === 502 || code === 521 || (code === 503 && !first.startsWith('5.5.4'))
}

/** Whether the connection is useless after this reply: it is about to be closed, or its replies no longer match our commands. */
export const isLast = ({ code }: Reply): boolean => code === 421 || (code >= 300 && code < 400)

const ENHANCED = /^4\.\d{1,3}\.\d{1,3}\b/
/** RFC 3463: of the mail system (4.3.x), and of the network and routing (4.4.x). */
const OF_THE_SYSTEM = /^4\.[34]\./
/** Of policy: a client that made too many errors, or that is put off as a stranger. */
const OF_POLICY = /^4\.7\./
/** Of an address, of a mailbox, of policy: greylisting, a mailbox that is full. */
const OF_THE_MAIL = /^4\.[127]\./

/**
 * Whether a reply says that the server has more than it can do, or is not well: 421 but 4.7.x; 4.3.x and 4.4.x; any other 4yz in place
 * of the greeting, or with an enhanced code to the dot, that is not about the mail or the client; 452 (RFC 5321 section 4.2.3).
 * A bare 451 to the dot is what Exim says to a sender that it puts off.
 */
export function isDrop({ code, lines }: Reply, asked: AskedCommand | 'greeting'): boolean {
  const [first = ''] = lines
  if (code === 421) return !OF_POLICY.test(first)
  if (code < 400 || code >= 500) return false
  if (OF_THE_SYSTEM.test(first)) return true
  if (OF_THE_MAIL.test(first)) return false
  return asked === 'greeting' || (asked === 'dot' && (code === 452 || ENHANCED.test(first)))
}

const WHO = /user|person|recipient|mailbox|inbox|account|address|alias|local.?part|@/i
const IS_NOT =
  /\b(no|not|isn't|doesn't|don't|cannot|unknown|invalid|bad|rejected|non-?existent|unavailable|undeliverable|unrout(e)?able|verification failed)\b/i
/** Refusals that concern the sender, the client or its name, lists, load or policy use much the same words. */
const OTHERWISE =
  /sender|client|helo|relay|spam|polic|reput|block|denied|deny|prohibit|quota|full|bounce|later|(?<!not )listed|list at|\b(ip|r?dns|ptr|reverse)\b|\byour (host|server|address)|\bhost \S+\./i

/**
 * Whether a reply to RCPT says that there is no such recipient. RFC 3463 section 3.2: 5.1.x is about addresses, and 5.1.7 and
 * 5.1.8 about the sender's. Without an enhanced code, or after the vague 5.1.0, only the words tell: Exim sends the same bare 550
 * for a sender it does not believe, for a client on a list, and for a recipient it does not know.
 */
export function isUnknownUser({ code, lines }: Reply): boolean {
  if (code !== 550 && code !== 551 && code !== 553) return false
  const [, enhanced, detail] = /^(5\.[0-9]+\.([0-9]+))\b/.exec(lines[0] ?? '') ?? []
  if (enhanced !== undefined && !enhanced.startsWith('5.1.')) return false
  if (enhanced !== undefined && detail !== '0') return detail !== '7' && detail !== '8'
  // The client chose the recipient's address, so the words in it say nothing.
  const words = lines
    .join(' ')
    .replace(/"[^"]*"@/g, '@')
    .split(' ')
    .map((word) => (word.includes('@') ? '@' : word))
    .join(' ')
  return WHO.test(words) && IS_NOT.test(words) && !OTHERWISE.test(words)
}
