/** Sessions with clients that got past the gate, as the rest of the program sees them. */
import type { Socket } from 'node:net'
import type { Facts } from '../../core/policy.ts'
import type { SessionRecord } from '../outcome.ts'
import { ClientSession, type ClientSessionParts } from './client-session.ts'
import { type TransportEvents, Transports } from './transport.ts'
import { Watch } from './watch.ts'

export interface SessionParts extends Omit<ClientSessionParts, 'offersTls'> {
  /** PEM; undefined: STARTTLS is not offered. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
}

export interface Session {
  /** Resolves when the client is gone, or will not be listened to any more. */
  readonly over: Promise<void>
  /** Resolves when the mail server has said its last word as well. */
  readonly settled: Promise<void>
  /** Whether a message is past its dot and not yet answered. */
  readonly pastDot: boolean
  /** Says 220, and listens from now on. */
  greet(): void
  /** This node is being stopped: says 421 and closes as soon as no transaction is under way and what the client sent is answered. */
  drain(): void
  /** Says 421 and closes, unless a message is past its dot: that one is waited for. */
  dismiss(): void
  /** Cuts it off, whatever is under way: a message past its dot is then unknown. */
  cut(): void
}

/** Makes sessions of accepted sockets. */
export class Sessions {
  readonly #parts: ClientSessionParts
  readonly #transports: Transports
  readonly #watch = new Watch()

  constructor(parts: SessionParts) {
    const { conversation, tls, idleMs, log } = parts
    this.#parts = { ...parts, offersTls: tls !== undefined }
    this.#transports = new Transports({ hostname: conversation.voice.hostname, tls, idleMs, log })
  }

  /** A session that has said nothing yet, see `greet`. @param socket paused */
  open(socket: Socket, facts: Facts['connect'], record: SessionRecord): Session {
    const connect = (events: TransportEvents) => this.#transports.open(socket, facts.client, events)
    return new ClientSession(this.#parts, this.#watch, facts, record, connect)
  }
}
