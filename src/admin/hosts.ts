/**
 * Which Host a request may name. A web page can let its own name resolve to 127.0.0.1 and so make its reader's browser
 * send requests to this port, from the same machine and as the same origin (DNS rebinding). Such requests still name
 * the host of the page. So over loopback, where no token is needed, only requests for our own names are answered. Off
 * loopback any name is accepted, because Prometheus and probes may use any name or address. There, without the token,
 * only requests are answered that reveal nothing about anybody.
 */
import { canonical, isLoopback } from '../core/ip.ts'

/**
 * A host and optionally a port (RFC 9110 section 7.2). The final dot of a full name is ignored (RFC 1034 section 3.1).
 */
const HOST = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,254}?)\.?)(?::\d{0,5})?$/i

/** @param names further host names and addresses of our own, in lower case */
export function isOwnHost(host: string, names: readonly string[]): boolean {
  const [, literal, name] = HOST.exec(host) ?? []
  if (literal === undefined && name === undefined) return false
  const wanted = canonical((literal ?? name ?? '').toLowerCase())
  return wanted === 'localhost' || isLoopback(wanted) || names.some((own) => canonical(own.toLowerCase()) === wanted)
}

/** Whether the page that made a browser send a request came from the host that the request is for (RFC 6454). */
export const isSameOrigin = (origin: string, host: string | undefined): boolean =>
  host !== undefined &&
  host !== '' &&
  /^https?:\/\//.test(origin) &&
  origin.replace(/^https?:\/\//, '').toLowerCase() === host.toLowerCase()
