/**
 * Which mailbox an address means, as far as that can be told from outside: for what is counted or remembered per recipient.
 * One mailbox has spellings without end (case, quotes, a source route, what follows a +), and whoever may choose among them
 * must not count as many. For nothing else: what goes to an upstream is what the client wrote.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: the bytes that are ASCII
const ASCII = /^[\x00-\x7f]*$/

/**
 * Without source route (RFC 5321 section 4.1.1.3), quotes and case, and without what follows a `+` in the local part
 * (RFC 5233).
 * @param address latin1, a byte a character; without angle brackets
 */
export function mailboxOf(address: string): string {
  const route = address.startsWith('@') ? address.indexOf(':') : -1
  const path = route < 0 ? address : address.slice(route + 1)
  const text = ASCII.test(path) ? path : Buffer.from(path, 'latin1').toString('utf8').normalize('NFKC')
  const at = text.lastIndexOf('@')
  const local = at < 0 ? text : text.slice(0, at)
  const bare = local.startsWith('"') && local.endsWith('"') ? local.slice(1, -1).replace(/\\(.)/g, '$1') : local
  const plus = bare.indexOf('+')
  const mailbox = plus > 0 ? bare.slice(0, plus) : bare
  return (at < 0 ? mailbox : mailbox + text.slice(at)).toLowerCase()
}

/** @param mailbox as mailboxOf gives it @returns '' where it has no domain (postmaster) */
export const domainOf = (mailbox: string): string => {
  const at = mailbox.lastIndexOf('@')
  return at < 0 ? '' : mailbox.slice(at + 1)
}
