/** What a client's link is made of, and which failures are about its client. */
import type { Clock } from '../../core/clock.ts'
import type { Slot } from '../pool/slots.ts'
import type { Upstreams } from '../pool/upstreams.ts'
import type { ClientAddressMode, ClientAttributes } from '../smtp/client-attributes.ts'
import { type Dialed, type DialSettings, UpstreamRefusal } from '../smtp/dial.ts'

/** A connection that is ready for MAIL, in its slot. */
export interface Link extends Dialed {
  readonly slot: Slot
  /** Whether no 4yz or 5yz was heard on it. */
  clean: boolean
  /** A transaction is open on it that the next one must end by RSET. */
  inTransaction: boolean
  /** It has served a message before. */
  reused: boolean
}

/** Asked when a mail server is reached: the answers may change in the course of a session. */
export interface RelayClient {
  /** HELO and TLS among them. */
  attributes(): ClientAttributes
  /** Whether the client has ever sent a line more slowly than any machine does. */
  typesSlowly(): boolean
}

export interface ClientLinkOptions {
  readonly upstreams: Upstreams
  readonly dial: DialSettings
  /** Milliseconds a connection waits for the same client's next message before it is given back. */
  readonly parkMs: number
  readonly elapsed: Clock['elapsed']
  readonly client: RelayClient
  /** Its slot is wanted for others, and its client does not get on with its transaction: ends that, and gives the slot back. */
  readonly evict: () => void
}

/**
 * Whether a server refused this client and not us: its HELO name, or its address where XCLIENT has told it, or a PROXY header before
 * the greeting. Otherwise one unwelcome client would take the server from all others.
 */
export function isAboutClient(error: unknown, clientIp: ClientAddressMode): boolean {
  if (!(error instanceof UpstreamRefusal)) return false
  const { phase } = error
  const isTold = clientIp === 'proxy-v1' || clientIp === 'proxy-v2'
  return phase === 'ehlo' || phase === 'client' || (phase === 'greeting' && isTold)
}
