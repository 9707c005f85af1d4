/**
 * What stands between the angle brackets of MAIL and RCPT (RFC 5321 section 4.1.2), read as far as two readers could differ
 * over it: where quoted strings begin and end, what is a source route, and where the domain begins. What an address may look
 * like beyond that is the mail server's business. All text is latin1, a byte a character, so that UTF-8 (RFC 6531) survives.
 */

/** Characters that separate parts of an address in one grammar or another; they mean themselves in quotes only. */
const PLAIN = '[^ \\t"\\\\()<>,;:@[\\]]'
const LITERAL = '\\[[^ \\t"\\\\()<>@[\\]]*\\]'
const DOMAIN = `(?:${LITERAL}|${PLAIN}+)`
const QUOTED = '"(?:[^"\\\\]|\\\\.)*"'
/** Dots, atoms and quoted strings; RFC 821 let a backslash stand before any character, here before a letter or digit. */
const LOCAL_PART = `(?:${QUOTED}|${PLAIN}|\\\\[A-Za-z0-9])*`
const ROUTE = new RegExp(`^@${DOMAIN}(?:,@${DOMAIN})*:(?=[^@])`)
const MAILBOX = new RegExp(`^${LOCAL_PART}(?:@|(?:@${DOMAIN})*)$`)

/**
 * The address that a mail server acts on: without source route (RFC 5321 appendix C: ignored), without quotes and the
 * backslashes of quoted pairs, without a dot at the end of the domain. Spellings of one mailbox are one text, so that no
 * spelling gets past what is counted or listed by address.
 * @param path between the brackets
 * @returns '' for the null path; undefined where it could be read in two ways
 */
export function addressOf(path: string): string | undefined {
  const mailbox = path.replace(ROUTE, '')
  if (!MAILBOX.test(mailbox)) return undefined
  const bare = mailbox.includes('"') || mailbox.includes('\\') ? mailbox.replace(/"|\\(.)/g, '$1') : mailbox
  return bare.endsWith('.') && bare.includes('@') ? bare.slice(0, -1) : bare
}

/**
 * Every domain that an address names. A server whose own the last one is may go on with what stands before it: of `a@b@c`,
 * also in quotes, a Postfix whose domain is c makes a@b.
 * @param address as `addressOf` gives it
 */
export const domainsOf = (address: string): readonly string[] => address.split('@').slice(1)

/** postmaster (also without a domain) and abuse, in any case: RFC 5321 section 4.5.1, RFC 2142 section 4. */
export const isRole = (address: string): boolean => /^(postmaster(@[^@]*)?|abuse@[^@]*)$/i.test(address)
