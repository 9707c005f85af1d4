/** Sessions with clients that got past the gate, as the rest of the program sees them. */
import type { Socket } from 'node:net'
import type { Facts } from '../../core/policy.ts'
import type { SessionRecord } from '../outcome.ts'
import { ClientSession, type ClientSessionParts } from './client-session.ts'
import { type TransportOptions, Transports } from './transport.ts'
import type { TransportEvents } from './transport-interface.ts'
import { Watch } from './watch.ts'

export interface SessionParts extends Omit<ClientSessionParts, 'offersTls'> {
  /** Undefined: STARTTLS is not offered. */
  readonly tls: TransportOptions['tls']
}

export interface Session {
  /** Resolves when the client is gone, or we no longer listen to it. */
  readonly over: Promise<void>
  /** Resolves when the mail server has given its last reply as well. */
  readonly settled: Promise<void>
  /** Whether a message is past its dot and not yet answered. */
  readonly pastDot: boolean
  /** Says 220, and listens from now on. */
  greet(): void
  /** The node is being stopped: says 421 and closes once no transaction is under way and all that the client sent is answered. */
  drain(): void
  /** Says 421 and closes now; if a message is past its dot, only after the reply to it. */
  dismiss(): void
  /** Cuts the client off, whatever is under way. What becomes of a message past its dot is then unknown. */
  cut(): void
}

/** Turns accepted sockets into sessions. */
export class Sessions {
  readonly #parts: ClientSessionParts
  readonly #transports: Transports
  readonly #watch = new Watch()

  constructor(parts: SessionParts) {
    const { conversation, tls, idleMs, log } = parts
    this.#parts = { ...parts, offersTls: tls !== undefined }
    this.#transports = new Transports({ hostname: conversation.voice.hostname, tls, idleMs, log })
  }

  /** A session that has not been greeted: nothing is read or said before `greet()`. @param socket paused */
  open(socket: Socket, facts: Facts['connect'], record: SessionRecord): Session {
    const connect = (events: TransportEvents) => this.#transports.open(socket, facts.client, events)
    return new ClientSession(this.#parts, this.#watch, facts, record, connect)
  }
}
