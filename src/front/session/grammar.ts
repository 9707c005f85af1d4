/**
 * Reads MAIL, RCPT, HELO and EHLO (RFC 5321 section 4.1.1). A spelling that can mean only one thing is accepted, as the mail
 * servers behind us accept it, and goes to them in its canonical form. A spelling that two programs could read in two ways is
 * refused, since we might judge one reading and pass on the other. test/wire/conformance/spellings.ts compares spellings with
 * real servers.
 *
 * In the canonical form the verb is in capitals, the path is in angle brackets right after the colon, and one space comes before
 * each parameter. Path and parameters stay as they came, byte for byte: what an address may look like is the mail server's
 * business. Text is latin1, one byte per character, so that UTF-8 addresses (RFC 6531) survive.
 */
import { addressOf, isRole } from '../../core/address.ts'
import { RELAYABLE } from '../../relay/smtp/dial.ts'

export interface Path {
  /** The text between the brackets, byte for byte: what the mail server is told. */
  readonly path: string
  /** The address that it names, as `addressOf` reads it; '' for the null sender. */
  readonly address: string
  /** By keyword in upper case; undefined: without a value. */
  readonly parameters: ReadonlyMap<string, string | undefined>
  /** The whole command in its canonical form, without CRLF. */
  readonly line: string
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

/** A tab separates words as a space does. Not \s and not trim(): an octet A0 may be half of a character. */
const BLANKS = /[ \t]+/
const isBlank = (char: string | undefined): boolean => char === ' ' || char === '\t'
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/
const KEYWORD = /^[A-Za-z0-9][A-Za-z0-9-]*$/

const hasControl = (line: string): boolean => CONTROL.test(line)

/** What MAIL and RCPT differ in. */
interface Kind {
  /** How the command begins in its canonical form, and in every form that we accept. */
  readonly head: string
  readonly prefix: RegExp
  readonly syntax: string
  /** Enhanced code of a bad path (RFC 3463 section 3.2: X.1.7 sender, X.1.3 recipient). */
  readonly badPath: '5.1.3' | '5.1.7'
  readonly parameters: Readonly<Record<string, Parameter>>
}

interface Parameter {
  /** Which extension it belongs to. */
  readonly extension: string
  /** What its value must look like; undefined: it has none. */
  readonly value: RegExp | undefined
  /** Whether the parameter says nothing with this value, and is left out. */
  readonly isIdle?: (value: string | undefined) => boolean
}

const MAIL: Kind = {
  head: 'MAIL FROM:',
  prefix: /^MAIL[ \t]+FROM:[ \t]*/i,
  syntax: 'Syntax: MAIL FROM:<address>',
  badPath: '5.1.7',
  parameters: {
    // RFC 1870 section 4. One without a number declares no size.
    SIZE: { extension: 'SIZE', value: /^[0-9]{1,20}$/, isIdle: (value) => value === undefined || value === '' },
    BODY: { extension: '8BITMIME', value: /^(7BIT|8BITMIME)$/i },
    SMTPUTF8: { extension: 'SMTPUTF8', value: undefined },
    // RFC 8689 section 4.1.
    REQUIRETLS: { extension: 'REQUIRETLS', value: undefined },
    RET: { extension: 'DSN', value: /^(FULL|HDRS)$/i },
    ENVID: { extension: 'DSN', value: /^.+$/ },
    // RFC 4954 section 5: from a client that is not trusted it means AUTH=<>, whatever its value, and that is the default.
    AUTH: { extension: 'AUTH', value: undefined, isIdle: () => true },
  },
}

const RCPT: Kind = {
  head: 'RCPT TO:',
  prefix: /^RCPT[ \t]+TO:[ \t]*/i,
  syntax: 'Syntax: RCPT TO:<address>',
  badPath: '5.1.3',
  parameters: {
    NOTIFY: { extension: 'DSN', value: /^(NEVER|(SUCCESS|FAILURE|DELAY)(,(SUCCESS|FAILURE|DELAY)){0,2})$/i },
    ORCPT: { extension: 'DSN', value: /^[A-Za-z0-9-]+;.+$/ },
  },
}

/** @returns index of the first of `stops` outside quotes; the length if there is none, -1 if a quote is not closed */
function outsideQuotes(text: string, from: number, stops: string): number {
  let quoted = false
  for (let i = from; i < text.length; i++) {
    const char = text[i] as string
    if (char === '\\') i++
    else if (char === '"') quoted = !quoted
    else if (!quoted && stops.includes(char)) return i
  }
  return quoted ? -1 : text.length
}

interface Found {
  /** What is between the brackets, or belongs there. */
  readonly path: string
  /** Index of what comes after it. */
  readonly end: number
}

function inBrackets(line: string, open: number): Found | undefined {
  const close = outsideQuotes(line, open + 1, '<>')
  if (line[close] !== '>') return undefined
  let from = open + 1
  let to = close
  while (isBlank(line[from])) from++
  while (to > from && isBlank(line[to - 1])) to--
  return { path: line.slice(from, to), end: close + 1 }
}

/** Without brackets, only text that has a domain, or is postmaster, is a path: in `MAIL FROM: SIZE=10` the path is missing. */
function withoutBrackets(line: string, from: number, { parameters }: Kind): Found | undefined {
  const end = outsideQuotes(line, from, ' \t<>')
  const path = line.slice(from, end)
  const [word = ''] = path.split('=', 1)
  if (end < 0 || line[end] === '<' || line[end] === '>' || !(path.includes('@') || isRole(path))) return undefined
  return path.includes('=') && Object.hasOwn(parameters, word.toUpperCase()) ? undefined : { path, end }
}

const NO_PARAMETERS = { ok: true, value: { parameters: new Map<string, string | undefined>(), tail: '' } } as const

/** The parameters that say something, and `tail`, which has them as they go on the line. */
function readParameters(text: string, kind: Kind): Read<Pick<Path, 'parameters'> & { readonly tail: string }> {
  if (text === '') return NO_PARAMETERS
  const parameters = new Map<string, string | undefined>()
  let tail = ''
  for (const word of text.split(BLANKS)) {
    if (word === '') continue
    const equals = word.indexOf('=')
    const keyword = (equals < 0 ? word : word.slice(0, equals)).toUpperCase()
    const value = equals < 0 ? undefined : word.slice(equals + 1)
    if (!KEYWORD.test(keyword)) return wrong('Bad parameter')
    if (Object.hasOwn(kind.parameters, keyword) && kind.parameters[keyword]?.isIdle?.(value)) continue
    if (value === '') return wrong('Bad parameter')
    if (parameters.has(keyword)) {
      if (parameters.get(keyword) === value) continue
      return wrong('A parameter is given twice')
    }
    parameters.set(keyword, value)
    tail += ` ${word}`
  }
  return { ok: true, value: { parameters, tail } }
}

function readPath(line: string, kind: Kind): Read<Path> {
  if (hasControl(line)) return wrong('Control characters in a command')
  const prefix = kind.prefix.exec(line)
  if (prefix === null) return wrong(kind.syntax)
  const from = prefix[0].length
  const found = line[from] === '<' ? inBrackets(line, from) : withoutBrackets(line, from, kind)
  if (found === undefined) return wrong(kind.syntax, 501, kind.badPath)
  const { path, end } = found
  if (path.includes('\t')) return wrong('Control characters in a command')
  const address = addressOf(path)
  if (address === undefined) return wrong(kind.syntax, 501, kind.badPath)
  const rest = line.slice(end)
  if (rest !== '' && !isBlank(rest[0])) return wrong(kind.syntax)
  const read = readParameters(rest, kind)
  if (!read.ok) return read
  const { parameters, tail } = read.value
  return { ok: true, value: { path, address, parameters, line: `${kind.head}<${path}>${tail}` } }
}

/** `MAIL FROM:<reverse-path> parameters`. */
export const readMail = (line: string): Read<Path> => readPath(line, MAIL)

/** `RCPT TO:<forward-path> parameters`. */
export function readRcpt(line: string): Read<Path> {
  const read = readPath(line, RCPT)
  return read.ok && read.value.address === '' ? wrong('A recipient is needed', 501, '5.1.3') : read
}

/** Whether a mail server that has not been reached yet may turn out to offer it. REQUIRETLS is up to our settings, too. */
export const mayBeOffered = (extension: string): boolean => RELAYABLE.includes(extension) && extension !== 'REQUIRETLS'

/**
 * The extensions that a command's parameters use. A parameter of an extension that we did not offer gets 555, a value that the
 * parameter cannot have 501, and a value that we do not implement 504 (RFC 5321 section 4.1.1.11).
 * @param offered undefined: no mail server has been reached yet, so whatever could be relayed may turn out to be offered
 */
export function extensionsUsed(
  kind: 'mail' | 'rcpt',
  parameters: Path['parameters'],
  offered: { has(extension: string): boolean } | undefined,
): Read<readonly string[]> {
  const known = (kind === 'mail' ? MAIL : RCPT).parameters
  const used = new Set<string>()
  for (const [keyword, value] of parameters) {
    const rule = Object.hasOwn(known, keyword) ? known[keyword] : undefined
    const isOffered = rule !== undefined && (offered?.has(rule.extension) ?? mayBeOffered(rule.extension))
    if (!isOffered) return wrong(`${keyword} is not offered`, 555)
    const fits = rule.value === undefined ? value === undefined : value !== undefined && rule.value.test(value)
    if (!fits) return wrong(`Bad value of ${keyword}`, keyword === 'BODY' && value !== undefined ? 504 : 501)
    used.add(rule.extension)
  }
  return { ok: true, value: [...used] }
}

/**
 * The argument of HELO or EHLO, as the mail server and the log are told it: blanks become single spaces. A name of several words
 * is no domain, but it is still one name. Undefined if it is no name.
 */
export function readHelo(line: string): string | undefined {
  const [verb = '', ...words] = line.split(BLANKS).filter((word) => word !== '')
  const name = words.join(' ')
  if (!/^(EHLO|HELO)$/i.test(verb) || name === '' || name.length > 255 || hasControl(name)) return undefined
  return name
}
