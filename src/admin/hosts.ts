/**
 * Which Host a request may name. The name of a web page can be made to resolve to 127.0.0.1, and then the page can read
 * this port through the browser of anyone on this machine who opens it (DNS rebinding). Its requests still name the page's
 * own host. So over loopback, where no token is needed, only our own names are answered. Off loopback any name will do:
 * Prometheus and probes use all sorts, and without the token they get nothing that is private.
 */
import { canonical, isLoopback } from '../core/ip.ts'

/** A host and perhaps a port (RFC 9110 section 7.2). The trailing dot of a full name means nothing here. */
const HOST = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,254}?)\.?)(?::\d{0,5})?$/i

/** @param names further names and addresses of ours, in lower case */
export function createIsOwnHost(names: readonly string[]): (host: string) => boolean {
  const own = new Set(['localhost', ...names.map((name) => canonical(name.toLowerCase()))])
  return (host) => {
    const [, literal, name] = HOST.exec(host) ?? []
    if (literal === undefined && name === undefined) return false
    const asked = canonical((literal ?? name ?? '').toLowerCase())
    return own.has(asked) || isLoopback(asked)
  }
}
