/**
 * Every line a client reads is put together here, from prebuilt parts: one write, ASCII, at most 512 octets (RFC 5321
 * section 4.5.3.1.5). A refusal says who we are, whom we mean, what is wrong, what to do, and an id to ask about; what a
 * client sent is never echoed.
 */
import type { Client } from '../core/client.ts'
import { refusalId } from '../core/id.ts'
import type { Refusal } from '../core/policy.ts'
import { REASON_NAMES, type ReasonName, reasonOf } from '../core/reasons.ts'
import type { Reply } from '../relay/smtp/reply.ts'

const MAX_TEXT = 510

type Addressee = Pick<Client, 'id' | 'ip'>

export interface Voice {
  /** The name in the greeting and in EHLO: one and the same. */
  readonly hostname: string
  /** A refusal of ours, with its CRLF. */
  refusal(client: Addressee, refusal: Refusal): string
  /** A reply as somebody else worded it (an upstream, the protocol), with the id behind a refusal. */
  relayed(client: Addressee, reply: Reply, reason?: ReasonName): string
}

/** A reply of the protocol itself. @param enhanced without it where RFC 2034 section 4 has none */
export const say = (code: number, enhanced: string | undefined, text: string): string =>
  enhanced === undefined ? `${code} ${text}\r\n` : `${code} ${enhanced} ${text}\r\n`

/** Lines of one reply, RFC 5321 section 4.2.1. */
export const sayLines = (code: number, lines: readonly string[]): string =>
  lines.map((line, i) => `${code}${i < lines.length - 1 ? '-' : ' '}${line}\r\n`).join('')

/** @param supportUrl where refused senders may ask; `{id}` in it is replaced. undefined: they read the id alone */
export function createVoice(hostname: string, supportUrl: string | undefined): Voice {
  // What is about us names us (421 must, RFC 5321 section 4.2.2); what is about the client names its address as well.
  const heads = new Map<ReasonName, string>(
    REASON_NAMES.map((name) => {
      const { code, enhanced } = reasonOf(name)
      return [name, code < 500 ? `${code} ${enhanced} ${hostname} [` : `${code} ${enhanced} [`]
    }),
  )
  /** What to ask about: the URL where there is one and it has room, else the id. */
  const mark = (id: string, room: number): string => {
    const url = supportUrl?.replaceAll('{id}', id)
    return url !== undefined && url.length <= room ? url : `(${id})`
  }
  return {
    hostname,
    refusal({ id, ip }, { reason, text }) {
      const line = `${heads.get(reason)}${ip}] ${text}`
      const full = refusalId(id, reason)
      return supportUrl === undefined
        ? `${line} (${full})\r\n`
        : `${line} ${mark(full, MAX_TEXT - line.length - 1)}\r\n`
    },
    relayed({ id }, { code, lines }, reason) {
      if (code < 400 || lines.length === 0) return sayLines(code, lines.length === 0 ? [''] : lines)
      const last = lines[lines.length - 1] as string
      const full = refusalId(id, reason)
      const marked = `${last} ${mark(full, MAX_TEXT - last.length - 5)}`
      if (marked.length + 4 <= MAX_TEXT) return sayLines(code, [...lines.slice(0, -1), marked])
      // No room behind it: a line of its own, with the enhanced code every line has (RFC 2034 section 4).
      const [enhanced = ''] = /^[245]\.[0-9]{1,3}\.[0-9]{1,3} /.exec(last) ?? []
      return sayLines(code, [...lines, enhanced + mark(full, MAX_TEXT - enhanced.length - 4)])
    },
  }
}
