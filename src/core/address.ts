/**
 * Parses the text between the angle brackets of MAIL and RCPT (RFC 5321 section 4.1.2), as far as two parsers could
 * differ over it: where quoted strings begin and end, what is a source route, and where the domain begins. What else an
 * address may look like is up to the upstream. All text is in Latin-1, one character per byte, so that UTF-8 (RFC 6531)
 * survives.
 */

/**
 * Any character except those that separate the parts of an address in some grammar; these are literal only in quotes.
 */
const PLAIN = '[^ \\t"\\\\()<>,;:@[\\]]'
const LITERAL = '\\[[^ \\t"\\\\()<>@[\\]]*\\]'
const DOMAIN = `(?:${LITERAL}|${PLAIN}+)`
const QUOTED = '"(?:[^"\\\\]|\\\\.)*"'
/**
 * Dots, atoms and quoted strings. RFC 821 allowed a backslash before any character; here it may precede a letter or
 * digit.
 */
const LOCAL_PART = `(?:${QUOTED}|${PLAIN}|\\\\[A-Za-z0-9])*`
const ROUTE = new RegExp(`^@${DOMAIN}(?:,@${DOMAIN})*:(?=[^@])`)
const MAILBOX = new RegExp(`^${LOCAL_PART}(?:@|(?:@${DOMAIN})*)$`)

/**
 * The address that a mail server acts on: without the source route, which is ignored (RFC 5321 appendix C), without
 * quotes and the backslashes of quoted pairs, and without a dot at the end of the domain. All such spellings of one
 * mailbox give the same text, so that none of them gets past what is counted or listed by address.
 * @param path the text between the brackets
 * @returns '' for the null path; undefined where the path could be read in two ways
 */
export function addressOf(path: string): string | undefined {
  const mailbox = path.replace(ROUTE, '')
  if (!MAILBOX.test(mailbox)) return undefined
  const bare = mailbox.includes('"') || mailbox.includes('\\') ? mailbox.replace(/"|\\(.)/g, '$1') : mailbox
  return bare.endsWith('.') && bare.includes('@') ? bare.slice(0, -1) : bare
}

/**
 * Every domain that an address names. A mail server that owns the last one may go on with the text before it: a Postfix
 * whose domain is c turns `a@b@c`, even in quotes, into a@b.
 * @param address as addressOf() returns it
 */
export const domainsOf = (address: string): readonly string[] => address.split('@').slice(1)

/**
 * Whether it is postmaster (also without a domain) or abuse, in any case (RFC 5321 section 4.5.1, RFC 2142 section 4).
 */
export const isRole = (address: string): boolean => /^(postmaster(@[^@]*)?|abuse@[^@]*)$/i.test(address)
