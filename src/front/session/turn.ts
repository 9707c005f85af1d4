/**
 * Whose turn it is in a session, since when, and how long it may take. A connection that waits for its client and one that
 * waits for us are two states; what is told of a session (is it over, is it past its dot) is read off the one it is in.
 */
import type { Clock } from '../../core/clock.ts'
import { Pace } from './pace.ts'

/** Whose turn it is, and at what. */
export type State =
  /** Nothing was said yet. */
  | 'greeting'
  /** The client's: its next command. */
  | 'command'
  /** Ours: the reply to a command. */
  | 'reply'
  /** Of both: a TLS handshake. */
  | 'handshake'
  /** The client's: the text of its message. */
  | 'text'
  /** The mail server's: to take what came of the message before more of it is read. */
  | 'backlog'
  /** The mail server's: the reply to the dot. */
  | 'dot'
  /** The same, and the client is gone, or has closed its side. */
  | 'left'
  /** Nobody's: the last reply was said. */
  | 'closing'
  | 'closed'

export interface TurnLimits {
  /** How long a client may be silent, or take for one command, in milliseconds. */
  readonly idleMs: number
  /** Octets a second that a message has to come at; undefined: any. */
  readonly minDataRate: number | undefined
  readonly sessionMs: number
  readonly elapsed: Clock['elapsed']
}

/** In a message a client is given at least this long (RFC 5321 section 4.5.3.2.5 asks clients for 3 minutes between blocks). */
const MIN_TEXT_IDLE_MS = 60_000

export class Turn {
  readonly #limits: TurnLimits
  readonly #pace: Pace
  #state: State = 'greeting'

  constructor(limits: TurnLimits) {
    const { idleMs, minDataRate: minRate, sessionMs, elapsed } = limits
    this.#limits = limits
    this.#pace = new Pace({ idleMs, bodyMs: Math.max(idleMs, MIN_TEXT_IDLE_MS), minRate, sessionMs }, elapsed())
  }

  get state(): State {
    return this.#state
  }

  goTo(state: State): void {
    const before = this.#state
    this.#state = state
    if (state === 'reply') this.#pace.typed(this.#limits.elapsed())
    else if (state === 'text' && before !== 'backlog') this.#pace.body(this.#limits.elapsed())
    else if (state === 'text' || state === 'command') this.#pace.turn(this.#limits.elapsed())
  }

  /** Whether we, or a mail server, are the ones who are waited for. */
  get isOurs(): boolean {
    return this.#state === 'reply' || this.#state === 'backlog' || this.isPastDot
  }

  /** Whether a message is past its dot and not yet answered. */
  get isPastDot(): boolean {
    return this.#state === 'dot' || this.#state === 'left'
  }

  get isEnding(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  /** Whether the client is gone, or will not be listened to any more. */
  get isOver(): boolean {
    return this.#state === 'left' || this.#state === 'closed'
  }

  /** How long nothing may be heard or said, in milliseconds. */
  get patienceMs(): number {
    const { idleMs } = this.#limits
    return this.#state === 'text' || this.#state === 'backlog' ? Math.max(idleMs, MIN_TEXT_IDLE_MS) : idleMs
  }

  /** Whether the client has ever typed as slowly as no machine does. */
  get wasSlow(): boolean {
    return this.#pace.slow
  }

  /** Whether the session has lasted as long as it may. */
  get hasLasted(): boolean {
    return this.#pace.isOver(this.#limits.elapsed())
  }

  /** A part of a command has come. @returns whether it should have been whole by now */
  typing(): boolean {
    return this.#pace.typing(this.#limits.elapsed()) <= 0
  }

  /** A part of a message has come. @returns why no more of it is taken; undefined: it goes on */
  part(octets: number): 'session_time' | 'slow_data' | undefined {
    const isSlow = this.#pace.part(octets, this.#limits.elapsed())
    if (this.hasLasted) return 'session_time'
    return isSlow ? 'slow_data' : undefined
  }
}
