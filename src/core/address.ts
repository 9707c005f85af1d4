/**
 * Parses the text between the angle brackets of MAIL and RCPT (RFC 5321 section 4.1.2), but only where two parsers
 * could disagree: where quoted strings begin and end, what is a source route, and where the domain begins. The mail
 * server decides whether the address is otherwise valid. All text is in Latin-1, one character per byte, so that UTF-8
 * (RFC 6531) survives.
 */

/**
 * Any character except those that separate the parts of an address in some grammar and so are literal only in quotes.
 */
const PLAIN = '[^ \\t"\\\\()<>,;:@[\\]]'
const LITERAL = '\\[[^ \\t"\\\\()<>@[\\]]*\\]'
const DOMAIN = `(?:${LITERAL}|${PLAIN}+)`
const QUOTED = '"(?:[^"\\\\]|\\\\.)*"'
/**
 * Dots, atoms and quoted strings. RFC 821 allowed a backslash before any character. Here it may precede only a letter
 * or a digit.
 */
const LOCAL_PART = `(?:${QUOTED}|${PLAIN}|\\\\[A-Za-z0-9])*`
const ROUTE = new RegExp(`^@${DOMAIN}(?:,@${DOMAIN})*:(?=[^@])`)
const MAILBOX = new RegExp(`^${LOCAL_PART}(?:@|(?:@${DOMAIN})*)$`)

/**
 * The address that a mail server acts on: without the source route, which is ignored (RFC 5321 appendix C), without
 * quotes and the backslashes of quoted pairs, and without a dot at the end of the domain. All these spellings of a
 * mailbox give the same text, so that none of them gets past a limit or a list that goes by address.
 * @param path the text between the brackets
 * @returns '' for the null path; undefined if the path could be read in two ways
 */
export function addressOf(path: string): string | undefined {
  const mailbox = path.replace(ROUTE, '')
  if (!MAILBOX.test(mailbox)) return undefined
  const bare = mailbox.includes('"') || mailbox.includes('\\') ? mailbox.replace(/"|\\(.)/g, '$1') : mailbox
  return bare.endsWith('.') && bare.includes('@') ? bare.slice(0, -1) : bare
}

/**
 * Every domain that an address names. A mail server that owns the last domain may strip it and act on what is left: a
 * Postfix whose domain is c turns `a@b@c`, even in quotes, into a@b.
 * @param address as addressOf() returns it
 */
export function domainsOf(address: string): readonly string[] {
  const at = address.indexOf('@')
  // Nearly every address names one. An array of its parts would cost several times as much.
  return at >= 0 && at === address.lastIndexOf('@') ? [address.slice(at + 1)] : address.split('@').slice(1)
}

/**
 * Whether this is postmaster (with or without a domain) or abuse, in upper or lower case (RFC 5321 section 4.5.1, RFC
 * 2142 section 4).
 */
export const isRole = (address: string): boolean => /^(postmaster(@[^@]*)?|abuse@[^@]*)$/i.test(address)

/**
 * An address as somebody tells or pastes it: the angle brackets of a path are no part of it.
 * @returns undefined if it is none
 */
export function writtenAddress(text: string): string | undefined {
  const address = text.trim().replace(/^<(.*)>$/, '$1')
  return /^[^\s<>]([^<>]*[^\s<>])?@[^\s<>@]+$|^postmaster$/i.test(address) ? address : undefined
}
