/**
 * Puts together every line that a client reads, from prebuilt parts: one write, ASCII, at most 512 octets (RFC 5321 section
 * 4.5.3.1.5). A refusal says who we are, whom we mean, what is wrong, what to do, and an id to ask about. What a client sent
 * is never echoed. What a mail server said is cleaned and cut: nothing but text passes.
 */
import type { Client } from '../core/client.ts'
import { refusalId } from '../core/id.ts'
import { utf8Of } from '../core/latin1.ts'
import type { Refusal } from '../core/policy.ts'
import { type Form, formsOf, patientFormOf, REASON_NAMES, type ReasonName, reasonOf } from '../core/reasons.ts'
import type { Reply } from '../relay/smtp/reply.ts'

/** Octets of a line without its CRLF, and of its text: without the code and its separator as well. */
const MAX_LINE = 510
const MAX_TEXT = MAX_LINE - 4
/** How many lines of somebody else's reply are passed on. */
const MAX_LINES = 20

/** Octets of the id with its space and parentheses. Words of ours, or of the operator, always leave room for it; what a check has added may not. */
const MARK = 16

const NO_OPTIONS: RelayedOptions = {}

type Addressee = Pick<Client, 'id' | 'ip'>

export interface Voice {
  /** The name in the greeting and in EHLO: one and the same. */
  readonly hostname: string
  /** A refusal of ours, with its CRLF. */
  refusal(client: Addressee, refusal: Refusal): string
  /**
   * A reply in somebody else's words (a mail server's, the protocol's); a refusal gets the id. Control characters become
   * question marks, and so does what is not ASCII unless `utf8`. Lines are cut to the length that a client must accept.
   */
  relayed(client: Addressee, reply: Reply, options?: RelayedOptions): string
}

export interface RelayedOptions {
  /** The reason of our own refusal that the reply follows from. */
  readonly reason?: ReasonName | undefined
  /** Whether the client asked for SMTPUTF8, and so must understand UTF-8 in replies (RFC 6531 section 3.7.4). */
  readonly utf8?: boolean
}

/** A reply of the protocol itself. @param enhanced undefined where RFC 2034 section 4 has none */
export const say = (code: number, enhanced: string | undefined, text: string): string =>
  enhanced === undefined ? `${code} ${text}\r\n` : `${code} ${enhanced} ${text}\r\n`

/** Lines of one reply, RFC 5321 section 4.2.1. */
export const sayLines = (code: number, lines: readonly string[]): string =>
  lines.map((line, i) => `${code}${i < lines.length - 1 ? '-' : ' '}${line}\r\n`).join('')

/** What a reply may consist of (RFC 5321 section 4.2). */
const TEXT = /^[\t -~]*$/
const NOT_ASCII = /[^\t -~]/gu
/** In UTF-8: control and format characters (such as bidirectional marks), unassigned ones, and line separators. */
const UNSAFE = /(?!\t)[\p{C}\p{Zl}\p{Zp}\ufffd]/gu
/** RFC 2034 section 4. It does not match the beginning of an address. */
const ENHANCED = /^[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![.0-9])/

/** Somebody else's text as it may stand in one line of a reply. Latin1, one byte per character, before and after. */
function clean(text: string, utf8: boolean): string {
  if (TEXT.test(text)) return text.length <= MAX_TEXT ? text : text.slice(0, MAX_TEXT)
  const characters = utf8Of(text)
  if (!utf8) return characters.replace(NOT_ASCII, '?').slice(0, MAX_TEXT)
  const bytes = Buffer.from(characters.replace(UNSAFE, '?'), 'utf8')
  let end = Math.min(bytes.length, MAX_TEXT)
  // Not in the middle of a character.
  while (end < bytes.length && ((bytes[end] as number) & 0xc0) === 0x80) end--
  return bytes.toString('latin1', 0, end)
}

const ZERO = '0'.charCodeAt(0)

/** The class of an enhanced code must be the first digit of the reply (RFC 2034 section 4). If it is not, it is corrected. */
function ofClass(code: number, text: string): string {
  const digit = Math.floor(code / 100)
  if (text[1] !== '.' || text.charCodeAt(0) === ZERO + digit || !ENHANCED.test(text)) return text
  return `${digit}${text.slice(1)}`
}

/**
 * @param hostname ASCII, as config/address-kinds.ts has it, and so is `supportUrl`
 * @param supportUrl where refused senders may ask; `{id}` in it is replaced. undefined: they read only the id
 * @param texts the operator's words in place of ours, at most one for each reason, as config/reply-text-kind.ts has them
 */
export function createVoice(
  hostname: string,
  supportUrl: string | undefined,
  texts: readonly { readonly reason: ReasonName; readonly text: string }[] = [],
): Voice {
  // A refusal that may pass names us (421 must, RFC 5321 section 4.2.2). Every refusal names the client's address.
  const headOf = ({ code, enhanced }: Pick<Form, 'code' | 'enhanced'>): string =>
    code < 500 ? `${code} ${enhanced} ${hostname} [` : `${code} ${enhanced} [`
  /** By reason and code: no two forms of a reason have the same code. */
  const heads = new Map<ReasonName, ReadonlyMap<number, string>>(
    REASON_NAMES.map((name) => {
      const forms = [...formsOf(name), ...(patientFormOf(name) === undefined ? [] : [patientFormOf(name) as Form])]
      return [name, new Map(forms.map((form) => [form.code, headOf(form)]))]
    }),
  )
  /** What to ask about: the URL, if there is one and it has room, else the id. */
  const mark = (id: string, room: number): string => {
    const url = supportUrl?.replaceAll('{id}', id)
    return url !== undefined && url.length <= room ? url : `(${id})`
  }
  const own = texts.length === 0 ? undefined : new Map(texts.map(({ reason, text }) => [reason, text]))
  /** What a check has added to our words, such as the names of DNS lists, stays. */
  const worded = (head: string, reason: ReasonName, text: string): string => {
    const words = own?.get(reason)
    if (words === undefined) return head + text
    const { wire } = reasonOf(reason)
    return `${head}${words}${text.startsWith(wire) ? text.slice(wire.length) : ''}`
  }
  return {
    hostname,
    refusal({ id, ip }, { reason, code, text }) {
      const head = `${heads.get(reason)?.get(code)}${ip}] `
      const whole = own === undefined ? head + text : worded(head, reason, text)
      const line = whole.length > MAX_LINE - MARK ? whole.slice(0, MAX_LINE - MARK) : whole
      const full = refusalId(id, reason)
      return supportUrl === undefined
        ? `${line} (${full})\r\n`
        : `${line} ${mark(full, MAX_LINE - line.length - 1)}\r\n`
    },
    relayed({ id }, { code, lines: said }, { reason, utf8 = false } = NO_OPTIONS) {
      // The common case: a yes in one line.
      if (code < 400 && said.length === 1) return `${code} ${clean(ofClass(code, said[0] as string), utf8)}\r\n`
      const lines = said.slice(0, MAX_LINES).map((line) => clean(ofClass(code, line), utf8))
      if (code < 400 || lines.length === 0) return sayLines(code, lines.length === 0 ? [''] : lines)
      const last = lines[lines.length - 1] as string
      const full = refusalId(id, reason)
      const marked = `${last} ${mark(full, MAX_TEXT - last.length - 1)}`
      if (marked.length <= MAX_TEXT) return sayLines(code, [...lines.slice(0, -1), marked])
      // No room for it: it gets a line of its own, with the enhanced code that every line has (RFC 2034 section 4).
      const [enhanced] = ENHANCED.exec(last) ?? []
      const head = enhanced === undefined ? '' : `${enhanced} `
      return sayLines(code, [...lines, head + mark(full, MAX_TEXT - head.length)])
    },
  }
}
