/**
 * Parses the PROXY protocol header, versions 1 and 2, that a listed balancer sends before the client's first byte
 * (HAProxy's proxy-protocol.txt). Everything later is judged by the source address in it, so parsing is strict: nothing
 * is repaired, and bytes that can no longer become a header are refused at the first byte that rules it out.
 *
 * The parser accepts one thing that the specification does not mention: the destination of a version 1 header may be of
 * either family. If an IPv6 client is passed on from an IPv4 listener, nginx writes `PROXY TCP6 2001:db8::1 192.0.2.1
 * 51512 25`: it names the family of the client and prints both addresses as it has them. The source alone decides who
 * the client is; the destination is only passed on.
 *
 * The parser is pure: the caller keeps the bytes it has, calls again when more have come, and enforces the deadline.
 * Bytes after the header belong to the client and are left alone.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { canonical, type Endpoint } from '../../core/ip.ts'
import { agrees, PROXY_V1, PROXY_V2 } from '../../core/proxy-signatures.ts'

export type ProxyHeader =
  /** The beginning of a header: more bytes are needed. */
  | { readonly state: 'more' }
  /** Not a header, whatever follows. `why` is for the log. */
  | { readonly state: 'bad'; readonly why: string }
  | {
      readonly state: 'ok'
      /** The number of bytes in the header. What follows belongs to the client. */
      readonly length: number
      /** Version 2 LOCAL: the balancer speaks for itself, as its health probe does, and there is no client. */
      readonly local: boolean
      /**
       * Absent if the header gives no TCP addresses (LOCAL, UNKNOWN, UNSPEC, UNIX). Then the addresses of the
       * connection count.
       */
      readonly source?: Endpoint
      readonly destination?: Endpoint
    }

/** The longest version 1 header, including CRLF (section 2.1). */
const V1_MAX = 107
/** The longest version 2 header we accept, including TLVs. Balancers write a few hundred bytes. */
const V2_MAX = 4096

const MORE: ProxyHeader = { state: 'more' }
const bad = (why: string): ProxyHeader => ({ state: 'bad', why })

/** Judges the bytes received so far on a connection that must begin with a PROXY header. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (agrees(bytes, PROXY_V1)) return bytes.length < PROXY_V1.length ? MORE : version1(bytes)
  if (agrees(bytes, PROXY_V2)) return bytes.length <= PROXY_V2.length ? MORE : version2(bytes)
  return bad('no PROXY header')
}

// Version 1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n

function version1(bytes: Buffer): ProxyHeader {
  const text = bytes.toString('latin1', PROXY_V1.length, V1_MAX)
  const end = text.search(/[\r\n]/)
  const line = end < 0 ? text : text.slice(0, end)
  const size = PROXY_V1.length + line.length + 2
  if (size > V1_MAX) return bad(`no CRLF in the first ${V1_MAX} bytes`)
  const whole = end >= 0 && text.startsWith('\r\n', end)
  if (end >= 0 && !whole && text.slice(end) !== '\r') return bad('line does not end with CRLF')
  const [protocol = '', ...fields] = line.split(' ')
  const protocols = ['TCP4', 'TCP6', 'UNKNOWN']
  if (!protocols.some((known) => (end < 0 && fields.length === 0 ? known.startsWith(protocol) : known === protocol))) {
    return bad(`unknown protocol ${JSON.stringify(protocol)}`)
  }
  if (protocol === 'UNKNOWN') return whole ? { state: 'ok', length: size, local: false } : MORE
  if (fields.length > 4) return bad('more than two addresses and two ports')
  const could = [protocol === 'TCP4' ? ipv4 : ipv6, ipv4or6, port, port]
  const kinds = [`${protocol} address`, 'address', 'port', 'port']
  for (const [i, field] of fields.entries()) {
    const open = end < 0 && i === fields.length - 1
    if (!could[i]!(field, open)) return bad(`${FIELDS[i]} ${JSON.stringify(field)} is no ${kinds[i]}`)
  }
  if (end >= 0 && fields.length < 4) return bad('fewer than two addresses and two ports')
  if (!whole) return MORE
  const [source, destination, sourcePort, destinationPort] = fields as [string, string, string, string]
  return {
    state: 'ok',
    length: size,
    local: false,
    source: { ip: canonical(source), port: Number(sourcePort) },
    destination: { ip: canonical(destination), port: Number(destinationPort) },
  }
}

const FIELDS = ['source address', 'destination address', 'source port', 'destination port']

/**
 * A field that was cut off (`open`) may still become valid if one of these completes it. They suffice: a cut address
 * lacks a digit, octets or groups, and `::` stands for any number of groups unless it is there already.
 */
const REST4 = ['', '0', '.0', '0.0', '.0.0', '0.0.0', '.0.0.0', '0.0.0.0']
const REST6 = [...REST4, ':', '::']

function ipv4(field: string, open: boolean): boolean {
  return open ? REST4.some((rest) => isIPv4(field + rest)) : isIPv4(field)
}

/**
 * A dotted tail is accepted as well: inet_ntop, and so the balancers, write IPv4-mapped addresses that way. Zones are
 * not part of the protocol.
 */
function ipv6(field: string, open: boolean): boolean {
  if (field.includes('%')) return false
  return open ? REST6.some((rest) => isIPv6(field + rest)) : isIPv6(field)
}

const ipv4or6 = (field: string, open: boolean): boolean => ipv4(field, open) || ipv6(field, open)

function port(field: string, open: boolean): boolean {
  return (open && field === '') || (/^(0|[1-9]\d{0,4})$/.test(field) && Number(field) <= 65535)
}

// Version 2: signature, version and command, family and protocol, length of the rest, addresses, TLVs

/**
 * The length of the address block by the family and protocol byte: unspecified, TCP over IPv4, TCP over IPv6, UNIX
 * stream.
 */
const ADDRESSES = new Map([
  [0x00, 0],
  [0x11, 12],
  [0x21, 36],
  [0x31, 216],
])

function version2(bytes: Buffer): ProxyHeader {
  const command = bytes[12]!
  if (command >> 4 !== 2) return bad(`version ${command >> 4} in a version 2 header`)
  if (command !== 0x20 && command !== 0x21) return bad(`unknown command ${command & 15}`)
  const local = command === 0x20
  // With LOCAL everything from the family on is skipped unread, by its length (section 2.2).
  const family = local ? 0 : bytes[13]
  if (family === undefined) return MORE
  const addresses = ADDRESSES.get(family)
  if (addresses === undefined) return bad(`unsupported family and protocol 0x${family.toString(16).padStart(2, '0')}`)
  if (bytes.length < 15) return MORE
  if ((bytes[14]! << 8) + 16 > V2_MAX) return bad(`longer than ${V2_MAX} bytes`)
  if (bytes.length < 16) return MORE
  const length = 16 + bytes.readUInt16BE(14)
  if (length > V2_MAX) return bad(`longer than ${V2_MAX} bytes`)
  if (length < 16 + addresses) return bad('address block is cut short')
  // If the family is unspecified, so is the end of the addresses, and nothing after them can be parsed.
  const fault = addresses === 0 ? undefined : tlvFault(bytes, 16 + addresses, length)
  if (fault !== undefined) return bad(fault)
  if (bytes.length < length) return MORE
  if (family === 0x11) return { state: 'ok', length, local, ...endpoints(bytes, 4, readIPv4) }
  if (family === 0x21) return { state: 'ok', length, local, ...endpoints(bytes, 16, readIPv6) }
  return { state: 'ok', length, local }
}

/** TLVs are skipped, but they must fill the header to its last byte: a wrong length would shift the client's bytes. */
function tlvFault(bytes: Buffer, from: number, end: number): string | undefined {
  let at = from
  while (at < end) {
    if (end - at < 3) return 'TLV is cut short'
    if (bytes.length < at + 3) return undefined
    at += 3 + bytes.readUInt16BE(at + 1)
    if (at > end) return 'TLV is longer than the header'
  }
  return undefined
}

function endpoints(bytes: Buffer, width: number, read: (bytes: Buffer, at: number) => string) {
  const ports = 16 + 2 * width
  return {
    source: { ip: read(bytes, 16), port: bytes.readUInt16BE(ports) },
    destination: { ip: read(bytes, 16 + width), port: bytes.readUInt16BE(ports + 2) },
  }
}

function readIPv4(bytes: Buffer, at: number): string {
  return bytes.subarray(at, at + 4).join('.')
}

function readIPv6(bytes: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(at + 2 * i).toString(16))
  return canonical(groups.join(':'))
}
