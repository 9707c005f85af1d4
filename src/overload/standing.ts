/**
 * Who a client is to us. It is asked once, at accept, of whatever address counts as the client's: the socket's, or the one
 * in the PROXY header of a listed balancer. Every check, limit, log line and metric then goes by the answer.
 *
 * The evidence, from the strongest to the weakest; the first that says something decides:
 *
 *     1. the allow list      the operator's own word                      -> trusted
 *     2. none                nobody has told us anything about it        -> new
 *
 * Bans (-> banned) belong between the two, and below them what earlier sessions taught (-> known, seen, suspect). The
 * deny list is not evidence: it is a check of its own (checks/denied.ts), which an operator may observe or turn off.
 */
import type { Standing } from '../core/client.ts'

/** A client's address with what it counts under; see Client in core/client.ts. */
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
