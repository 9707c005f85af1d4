/** What a client's link is made of, and which failures are about its client. */
import type { Standing } from '../../core/client.ts'
import type { Clock } from '../../core/clock.ts'
import type { Slot } from '../pool/slot.ts'
import type { Upstreams } from '../pool/upstreams.ts'
import type { ClientAddressMode, ClientAttributes } from '../smtp/client-attributes.ts'
import { type Dialed, type DialSettings, UpstreamRefusal } from '../smtp/dial.ts'

/** A connection that is ready for MAIL, in its slot. */
export interface Link extends Dialed {
  readonly slot: Slot
  /** Whether no 4yz or 5yz has come on it. */
  clean: boolean
  /** Whether a transaction is open on it, which the next one must end with RSET. */
  inTransaction: boolean
  /** Whether it has served a message before. */
  reused: boolean
}

/** Why we stop waiting for a slot or a server. */
export const LEFT = 'the client left'

/** The connection alone. */
export const dialedOf = ({ smtp, extensions, helo, settings }: Link): Dialed => ({ smtp, extensions, helo, settings })

/** Whether another client may have the connection after this one. Postfix takes XCLIENT once, and counts errors by connection. */
export function isForAnybody({ settings: { clientIp }, clean, inTransaction, smtp }: Link): boolean {
  return (clientIp === 'none' || clientIp === 'received') && clean && !inTransaction && smtp.settled
}

/** Asked each time a mail server is reached, because the answers may change in the course of a session. */
export interface RelayClient {
  /** HELO and TLS included. */
  readonly attributes: ClientAttributes
  readonly standing: Standing
  /** Whether the client has ever sent a line more slowly than any machine does. */
  readonly typesSlowly: boolean
}

export interface ClientLinkOptions {
  readonly upstreams: Upstreams
  /** Those of the transaction under way. */
  readonly dial: () => DialSettings
  /** How long a connection stays parked for its client's next message, in milliseconds. */
  readonly parkMs: number
  readonly elapsed: Clock['elapsed']
  readonly client: RelayClient
  /** Called when others want the slot and the transaction makes no progress. Ends the transaction and gives the slot back. */
  readonly evict: () => void
}

/**
 * Whether a server refused this client and not us: its HELO name, or its address, which XCLIENT or, before the greeting, a PROXY
 * header has given. Without this distinction one unwelcome client would take the server from all others.
 */
export function isAboutClient(error: unknown, clientIp: ClientAddressMode): boolean {
  if (!(error instanceof UpstreamRefusal)) return false
  const { phase } = error
  const isTold = clientIp === 'proxy-v1' || clientIp === 'proxy-v2'
  return phase === 'ehlo' || phase === 'client' || (phase === 'greeting' && isTold)
}
