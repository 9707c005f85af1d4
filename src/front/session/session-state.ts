/**
 * Whose turn it is in a session, since when, and for how long. A session that waits for its client and one that waits for us
 * are in different states. Everything else that is asked about it (is it over, is it past its dot) follows from its state.
 */
import type { Clock } from '../../core/clock.ts'
import { Pace, type PaceLimits } from './pace.ts'

/** Whose turn it is, and at what. */
export type State =
  /** Nobody's yet: nothing has been said. */
  | 'greeting'
  /** The client's: its next command. */
  | 'command'
  /** Ours: the reply to a command. */
  | 'reply'
  /** Both sides': a TLS handshake. */
  | 'handshake'
  /** The client's: the text of its message. */
  | 'text'
  /** The mail server's: it has to take what has come of the message before more is read. */
  | 'backlog'
  /** The mail server's: the reply to the dot. */
  | 'dot'
  /** The same, but the client is gone or has closed its side. */
  | 'left'
  /** Nobody's: the last reply has been said. */
  | 'closing'
  | 'closed'

export interface SessionLimits extends PaceLimits {
  readonly elapsed: Clock['elapsed']
}

export class SessionState {
  readonly #limits: SessionLimits
  readonly #pace: Pace
  #current: State = 'greeting'

  constructor(limits: SessionLimits) {
    this.#limits = limits
    this.#pace = new Pace(limits, limits.elapsed())
  }

  get current(): State {
    return this.#current
  }

  goTo(state: State): void {
    const before = this.#current
    this.#current = state
    if (state === 'reply') this.#pace.typed(this.#limits.elapsed())
    else if (state === 'text' && before !== 'backlog') this.#pace.body(this.#limits.elapsed())
    else if (state === 'text' || state === 'command') this.#pace.turn(this.#limits.elapsed())
  }

  /** Whether the client waits for us or for a mail server. */
  get isOurs(): boolean {
    return this.#current === 'reply' || this.#current === 'backlog' || this.isPastDot
  }

  /** Whether a message is past its dot and not yet answered. */
  get isPastDot(): boolean {
    return this.#current === 'dot' || this.#current === 'left'
  }

  get isEnding(): boolean {
    return this.#current === 'closing' || this.#current === 'closed'
  }

  /** Whether the client is gone, or we no longer listen to it. */
  get isOver(): boolean {
    return this.#current === 'left' || this.#current === 'closed'
  }

  /** How long the connection may be silent in both directions, in milliseconds. */
  get patienceMs(): number {
    return this.#current === 'text' || this.#current === 'backlog' ? this.#pace.textMs : this.#limits.idleMs
  }

  /** Whether the client has ever sent a line more slowly than any machine does. */
  get typesSlowly(): boolean {
    return this.#pace.typesSlowly
  }

  /** Whether the session has lasted for as long as it may. */
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
