/**
 * What a mail server is told about the client, and each way of telling it: XCLIENT, a PROXY header, or a Received line. A way
 * that does not work is an error, never silence: a mail server that takes us for the client is an open relay.
 */
import type { Client } from '../../core/client.ts'
import type { Name } from '../../dns/names.ts'

const CLIENT_ADDRESS_MODES = ['xclient', 'proxy-v1', 'proxy-v2', 'received', 'none'] as const
export type ClientAddressMode = (typeof CLIENT_ADDRESS_MODES)[number]

/** The client as the mail server is to see it. */
export interface ClientAttributes {
  readonly client: Pick<Client, 'id' | 'ip' | 'port' | 'family' | 'source' | 'net' | 'local'>
  /** As the client said it. Safe to send: it was checked when it was parsed. */
  readonly helo: string
  readonly esmtp: boolean
  /** Protocol and cipher, if the client uses TLS with us. */
  readonly tls: { readonly protocol: string; readonly cipher: string } | undefined
}

/** RFC 3461 section 4: writes space, `+`, `=` and all but printable ASCII as `+` and two hexadecimal digits. Input is latin1. */
export const xtext = (text: string): string =>
  text.replace(/[^!-*,-<>-~]/g, (char) => `+${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)

const nameAttribute = (name: Name): string => {
  if (name.kind === 'name') return xtext(name.name)
  return name.kind === 'none' ? '[UNAVAILABLE]' : '[TEMPUNAVAIL]'
}

/**
 * The XCLIENT command (Postfix XCLIENT_README), with those of our attributes that the server offers. NAME is always among them:
 * without it Postfix keeps our own name beside the client's address.
 * @param offered the attributes listed after XCLIENT in the EHLO reply
 * @returns undefined if the server does not offer both ADDR and NAME, which makes XCLIENT useless
 */
export function xclientCommand(
  attributes: ClientAttributes,
  name: Name,
  offered: readonly string[],
): string | undefined {
  if (!offered.includes('ADDR') || !offered.includes('NAME')) return undefined
  const { ip, port, family } = attributes.client
  const pairs: [string, string][] = [
    ['NAME', nameAttribute(name)],
    ['ADDR', family === 6 ? `IPV6:${ip}` : ip],
    ['PORT', String(port)],
    ['PROTO', attributes.esmtp ? 'ESMTP' : 'SMTP'],
    ['HELO', xtext(attributes.helo)],
  ]
  const said = pairs.filter(([key]) => offered.includes(key)).map(([key, value]) => `${key}=${value}`)
  return `XCLIENT ${said.join(' ')}`
}

/** RFC 3848: the protocol keyword of a Received line. */
const protocolOf = ({ esmtp, tls }: ClientAttributes): string =>
  esmtp ? `ESMTP${tls === undefined ? '' : 'S'}` : 'SMTP'

/** A HELO name may contain anything printable. Characters that could end a comment or fold a line are replaced. */
const inHeader = (text: string): string => text.replace(/[^A-Za-z0-9._:[\]-]/g, '?').slice(0, 255)

/** RFC 5322 section 3.3, in UTC: `Sat, 21 Nov 2026 21:00:00 +0000`. */
const dateTime = (at: number): string => new Date(at).toUTCString().replace('GMT', '+0000')

/** The Received line (RFC 5321 section 4.4) that we put on top of a message, with its CRLFs. */
export function receivedLine(attributes: ClientAttributes, hostname: string, now: number): Buffer {
  const { client, helo, tls } = attributes
  const address = client.family === 6 ? `[IPv6:${client.ip}]` : `[${client.ip}]`
  const cipher = tls === undefined ? '' : `\r\n\t(using ${inHeader(tls.protocol)} with cipher ${inHeader(tls.cipher)})`
  return Buffer.from(
    `Received: from ${inHeader(helo)} (${address})${cipher}\r\n` +
      `\tby ${hostname} (Spillway) with ${protocolOf(attributes)} id ${client.id};\r\n\t${dateTime(now)}\r\n`,
    'latin1',
  )
}
