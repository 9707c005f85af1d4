/**
 * Writes the PROXY protocol header, versions 1 and 2, which tells a mail server who the client is (HAProxy's proxy-protocol.txt).
 * It is the first thing sent on a connection, before the server's greeting is awaited.
 *
 * A header has one family for both addresses. If they differ, the IPv4 address is written IPv4-mapped in an IPv6 header. It is
 * never replaced or left out: receivers treat an IPv4-mapped address as the IPv4 address it is (Postfix folds it back, so that
 * access lists and logs see the client as it is), and the other address is the true one as well. Version 1 writes it as
 * `::ffff:192.0.2.1`, as inet_ntop does, because some receivers know only this form.
 */
import { type Endpoint, familyOf } from '../../core/ip.ts'
import { groups, octets } from '../../core/ip-bytes.ts'
import { PROXY_V2 } from '../../core/proxy-signatures.ts'

/** Who connected to whom; addresses canonical. */
export interface ProxiedConnection {
  readonly source: Endpoint
  readonly destination: Endpoint
}

const LOCAL = 0x20
const PROXY = 0x21
const UNSPEC = 0x00
const TCP4 = 0x11
const TCP6 = 0x21

function isIPv4({ source, destination }: ProxiedConnection): boolean {
  return familyOf(source.ip) === 4 && familyOf(destination.ip) === 4
}

function mapped(ip: string): string {
  return familyOf(ip) === 4 ? `::ffff:${ip}` : ip
}

/** Version 1, one line of text. */
export function proxyV1(connection: ProxiedConnection): Buffer {
  const { source, destination } = connection
  const addresses = isIPv4(connection)
    ? `TCP4 ${source.ip} ${destination.ip}`
    : `TCP6 ${mapped(source.ip)} ${mapped(destination.ip)}`
  return Buffer.from(`PROXY ${addresses} ${source.port} ${destination.port}\r\n`, 'latin1')
}

/** Version 2, binary, without TLVs. */
export function proxyV2(connection: ProxiedConnection): Buffer {
  const { source, destination } = connection
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(source.port, 0)
  ports.writeUInt16BE(destination.port, 2)
  return isIPv4(connection)
    ? version2(PROXY, TCP4, [octets(source.ip), octets(destination.ip), ports])
    : version2(PROXY, TCP6, [groups(mapped(source.ip)), groups(mapped(destination.ip)), ports])
}

/** Version 2 LOCAL: the connection is our own and not a client's, as in a health check. */
export function proxyV2Local(): Buffer {
  return version2(LOCAL, UNSPEC, [])
}

function version2(command: number, family: number, block: readonly Buffer[]): Buffer {
  const body = Buffer.concat(block)
  return Buffer.concat([PROXY_V2, Buffer.from([command, family, body.length >> 8, body.length & 255]), body])
}
