/**
 * Which Host a request may name. A page on the web can have its own name resolve to 127.0.0.1 and so make the browser of
 * whoever reads it ask this port, from the same machine and as the same origin (DNS rebinding). Its requests still name
 * its own host, so over loopback, where no token is asked for, only our own names are answered. Off loopback nothing is
 * answered without the token but what tells nothing of anybody, and Prometheus and probes come by any name or address.
 */
import { canonical, isLoopback } from '../core/ip.ts'

/** RFC 9110 section 7.2: a host and perhaps a port. The last dot of a full name says nothing (RFC 1034 section 3.1). */
const HOST = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,254}?)\.?)(?::\d{0,5})?$/i

/** @param names further hosts that are ours, names and addresses, in lower case */
export function createIsOwnHost(names: readonly string[]): (host: string) => boolean {
  const own = new Set(['localhost', ...names.map((name) => canonical(name.toLowerCase()))])
  return (host) => {
    const [, literal, name] = HOST.exec(host) ?? []
    if (literal === undefined && name === undefined) return false
    const asked = canonical((literal ?? name ?? '').toLowerCase())
    return own.has(asked) || isLoopback(asked)
  }
}
