/** Sessions with clients that got past the gate, as the rest of the program sees them. */
import type { Socket } from 'node:net'
import type { Client } from '../../core/client.ts'
import type { Facts } from '../../core/policy.ts'
import type { SessionRecord } from '../session-record.ts'
import { ClientSession, type ClientSessionParts } from './client-session.ts'
import type { PaceLimits } from './pace.ts'
import { type TransportOptions, Transports } from './transport.ts'
import type { TransportEvents } from './transport-interface.ts'
import { Watch } from './watch.ts'

/** What a session keeps to from its beginning to its end. */
export interface SessionRules extends PaceLimits, Pick<ClientSessionParts, 'maxMessages'> {
  /** Undefined: STARTTLS is not offered. */
  readonly tls: TransportOptions['tls']
}

export interface SessionParts extends Omit<ClientSessionParts, 'offersTls' | keyof SessionRules> {
  /** For sessions that begin now. */
  readonly rules: (client: Client) => SessionRules
}

export interface Session {
  /** Resolves when the client is gone, or we no longer listen to it. */
  readonly over: Promise<void>
  /** Resolves when the mail server has given its last reply as well. */
  readonly settled: Promise<void>
  /** Whether a message is past its dot and not yet answered. */
  readonly pastDot: boolean
  /** It is greeted within two turns of the event loop: whoever came before a stop hears 220 first. */
  isDue: boolean
  /** Says the first line of the greeting, and is due no more. */
  tease(): void
  /** Says 220, or the last line of it, and listens from now on. @param early whether the client has spoken already */
  greet(early?: boolean): void
  /** The node is being stopped: says 421 and closes once no transaction is under way and all that the client sent is answered. */
  drain(): void
  /** Says 421 and closes now; if a message is past its dot, only after the reply to it. */
  dismiss(): void
  /** Cuts the client off, whatever is under way. What becomes of a message past its dot is then unknown. */
  cut(): void
}

/** What all sessions share that keep to the same rules. */
interface Ruled {
  readonly rules: SessionRules
  readonly parts: ClientSessionParts
  readonly transports: Transports
}

/** Sets of rules that are in use at a time: the usual ones, and those of the levels of overload. */
const MOST_SETS = 8

/** Turns accepted sockets into sessions. */
export class Sessions {
  readonly #parts: SessionParts
  /** By the time that a client may be silent, in which sets of rules differ at any moment. */
  readonly #ruled = new Map<number, Ruled>()
  readonly #watch = new Watch()

  constructor(parts: SessionParts) {
    this.#parts = parts
  }

  /** A session that has not been greeted: nothing is read or said before `greet()`. @param socket paused */
  open(socket: Socket, facts: Facts['connect'], record: SessionRecord): Session {
    const { parts, transports } = this.#under(this.#parts.rules(facts.client))
    const connect = (events: TransportEvents) => transports.open(socket, facts.client, events)
    return new ClientSession(parts, this.#watch, facts, record, connect)
  }

  /** Most reloads change other things, and sessions before and after them share everything. */
  #under(rules: SessionRules): Ruled {
    const before = this.#ruled.get(rules.idleMs)
    if (before !== undefined && (before.rules === rules || isSame(before.rules, rules))) return before
    if (before === undefined && this.#ruled.size >= MOST_SETS) this.#ruled.clear()
    const made = ruled(this.#parts, rules)
    this.#ruled.set(rules.idleMs, made)
    return made
  }
}

const isSame = (some: SessionRules, others: SessionRules): boolean =>
  (Object.keys(others) as (keyof SessionRules)[]).every((rule) => some[rule] === others[rule])

function ruled(parts: SessionParts, rules: SessionRules): Ruled {
  const { conversation, log } = parts
  const { tls, idleMs } = rules
  return {
    rules,
    parts: { ...parts, ...rules, offersTls: tls !== undefined },
    transports: new Transports({ hostname: conversation.voice.hostname, tls, idleMs, log }),
  }
}
