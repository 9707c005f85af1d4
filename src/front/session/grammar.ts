/**
 * Reads MAIL and RCPT (RFC 5321 section 4.1.2) as far as we must know them: where the path ends, and which parameters
 * there are. What an address may look like is the upstream's business, so the path is not judged beyond its brackets and
 * quotes, and what goes upstream is the line as the client sent it. What could be taken for something else there (control
 * characters, a second line) is refused. Text is latin1: a byte a character, so that UTF-8 addresses (RFC 6531) survive.
 */

export interface Path {
  /** Between the angle brackets; '' for the null sender. */
  readonly address: string
  /** Keywords in upper case; undefined: without a value. */
  readonly parameters: ReadonlyMap<string, string | undefined>
}

/** What is wrong: a reply code, its enhanced code, and words. */
export interface Mistake {
  readonly code: 501 | 504 | 555
  readonly enhanced: string
  readonly text: string
}

export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly mistake: Mistake }

const wrong = (text: string, code: Mistake['code'] = 501, enhanced = '5.5.4'): Read<never> => ({
  ok: false,
  mistake: { code, enhanced, text },
})

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const CONTROL = /[\x00-\x1f\x7f]/
const KEYWORD = /^[A-Za-z0-9][A-Za-z0-9-]*$/

export const hasControl = (line: string): boolean => CONTROL.test(line)

/** Index behind the `>` that closes the path opened at `from`; quoted strings may hold brackets. -1: never closed. */
function endOfPath(text: string, from: number): number {
  let quoted = false
  for (let i = from + 1; i < text.length; i++) {
    const char = text[i]
    if (quoted && char === '\\') i++
    else if (char === '"') quoted = !quoted
    else if (!quoted && char === '>') return i + 1
    else if (!quoted && (char === '<' || char === ' ')) return -1
  }
  return -1
}

/** @param badPath the enhanced code for an address without its brackets (RFC 3463 section 3.2: X.1.7 sender, X.1.3 recipient) */
function readPath(line: string, prefix: RegExp, syntax: string, badPath: '5.1.3' | '5.1.7'): Read<Path> {
  if (hasControl(line)) return wrong('Control characters in a command')
  const head = prefix.exec(line)
  if (head === null) return wrong(`Syntax: ${syntax}`, 501, '5.5.4')
  const open = head[0].length
  const end = line[open] === '<' ? endOfPath(line, open) : -1
  if (end < 0) return wrong(`Syntax: ${syntax}`, 501, badPath)
  const parameters = new Map<string, string | undefined>()
  const rest = line.slice(end)
  if (rest !== '' && rest[0] !== ' ') return wrong(`Syntax: ${syntax}`)
  for (const word of rest.split(' ')) {
    if (word === '') continue
    const equals = word.indexOf('=')
    const keyword = (equals < 0 ? word : word.slice(0, equals)).toUpperCase()
    const value = equals < 0 ? undefined : word.slice(equals + 1)
    if (!KEYWORD.test(keyword) || value === '' || value?.includes('=')) return wrong('Bad parameter')
    if (parameters.has(keyword)) return wrong('A parameter is given twice')
    parameters.set(keyword, value)
  }
  return { ok: true, value: { address: line.slice(open + 1, end - 1), parameters } }
}

/** `MAIL FROM:<reverse-path> parameters`. A space behind the colon is common enough to be borne. */
export const readMail = (line: string): Read<Path> => readPath(line, /^MAIL FROM: ?/i, 'MAIL FROM:<address>', '5.1.7')

/** `RCPT TO:<forward-path> parameters`. */
export function readRcpt(line: string): Read<Path> {
  const read = readPath(line, /^RCPT TO: ?/i, 'RCPT TO:<address>', '5.1.3')
  return read.ok && read.value.address === '' ? wrong('A recipient is needed', 501, '5.1.3') : read
}

/** Which extension a parameter belongs to, and what its value must look like. */
const MAIL_PARAMETERS: Readonly<Record<string, { extension: string; value: RegExp | undefined }>> = {
  SIZE: { extension: 'SIZE', value: /^[0-9]{1,20}$/ },
  BODY: { extension: '8BITMIME', value: /^(7BIT|8BITMIME)$/i },
  SMTPUTF8: { extension: 'SMTPUTF8', value: undefined },
  RET: { extension: 'DSN', value: /^(FULL|HDRS)$/i },
  ENVID: { extension: 'DSN', value: /^.{1,100}$/ },
}
const RCPT_PARAMETERS: typeof MAIL_PARAMETERS = {
  NOTIFY: { extension: 'DSN', value: /^(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY)){0,2})$/i },
  ORCPT: { extension: 'DSN', value: /^[A-Za-z0-9-]+;.{1,500}$/ },
}

/**
 * The extensions a command's parameters use. A parameter of an extension that we did not offer is 555, a value that is
 * none of its own 501, or 504 where it is one we do not implement (RFC 5321 section 4.1.1.11).
 */
export function extensionsUsed(
  kind: 'mail' | 'rcpt',
  parameters: Path['parameters'],
  offered: { has(extension: string): boolean },
): Read<readonly string[]> {
  const known = kind === 'mail' ? MAIL_PARAMETERS : RCPT_PARAMETERS
  const used = new Set<string>()
  for (const [keyword, value] of parameters) {
    const rule = Object.hasOwn(known, keyword) ? known[keyword] : undefined
    if (rule === undefined || !offered.has(rule.extension)) return wrong(`${keyword} is not offered`, 555)
    const fits = rule.value === undefined ? value === undefined : value !== undefined && rule.value.test(value)
    if (!fits) return wrong(`Bad value of ${keyword}`, keyword === 'BODY' && value !== undefined ? 504 : 501)
    used.add(rule.extension)
  }
  return { ok: true, value: [...used] }
}

/** The argument of HELO or EHLO: what the upstream and the log are told. Undefined where it is none. */
export function readHelo(line: string): string | undefined {
  // Not trim(): an octet A0 may be half of a character.
  const [, name = '', ...more] = line.replace(/ +$/, '').split(/ +/)
  if (name === '' || more.length > 0 || name.length > 255 || hasControl(name)) return undefined
  return name
}

/** postmaster (also without a domain) and abuse, in any case: RFC 5321 section 4.5.1, RFC 2142 section 4. */
export const isRole = (address: string): boolean => /^(postmaster(@.*)?|abuse@.*)$/i.test(address)
