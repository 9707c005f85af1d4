/**
 * Who a client is to us: its standing. It is decided once, at accept, from the client's address: that of the socket, or
 * the one in the PROXY header of a listed balancer. Every check, limit, log line and metric goes by it.
 *
 * The evidence, from the strongest to the weakest; the first that applies decides:
 *
 *     1. the allow list      the operator's own decision                  -> trusted
 *     2. none                we know nothing about the client             -> new
 *
 * Bans (-> banned) will go between the two, and after them what earlier sessions showed (-> known, seen, suspect). The
 * deny list is not evidence: it is a check of its own (checks/denied.ts), which an operator may only observe.
 */
import type { Standing } from '../core/client.ts'

/** A client's address and the keys it is counted under; see Client in core/client.ts. */
export interface ClientAddress {
  readonly ip: string
  readonly source: string
  readonly net: string
}

export interface Evidence {
  /** @param ip canonical */
  readonly isAllowed: (ip: string) => boolean
}

export function standingOf({ ip }: ClientAddress, { isAllowed }: Evidence): Standing {
  return isAllowed(ip) ? 'trusted' : 'new'
}
