/**
 * How fast a client must get on while it is the client's turn. Bytes alone are no sign of life: one byte a second would hold a
 * connection for ever, and a connection to a mail server with it. So a command must be complete within the time that a client may
 * be silent, a message must come at a minimum rate, and a session has an end. (RFC 5321 section 4.5.3.2 has clients wait minutes
 * for us; it does not have us wait for them without bound.) The time that a client waits for us does not count.
 *
 * Times are in milliseconds of a clock that never goes back. Nothing here runs by itself, so that ten thousand slow clients need
 * no timers beyond those of their sockets.
 */
export interface PaceLimits {
  /** For one command, from our reply to its last byte. */
  readonly idleMs: number
  /** Minimum rate of a message, in octets a second; undefined: none. */
  readonly minDataRate: number | undefined
  /** For a whole session. */
  readonly sessionMs: number
}

/** A client may be silent for at least this long in a message (RFC 5321 section 4.5.3.2.5 gives clients 3 minutes a block). */
const MIN_TEXT_IDLE_MS = 60_000
/** No machine takes longer than this to send one line. */
const SLOW_LINE_MS = 5000

export class Pace {
  readonly #limits: PaceLimits
  readonly #begun: number
  /** Since when it has been the client's turn. */
  #since: number
  /** When the first part of an unfinished line came. */
  #typing: number | undefined
  /** For how much longer a message may come more slowly than its minimum rate. */
  #left = 0
  /** Whether it has ever sent a line more slowly than any machine does. */
  typesSlowly = false

  constructor(limits: PaceLimits, now: number) {
    this.#limits = limits
    this.#begun = now
    this.#since = now
  }

  /** How long a client may be silent in a message, or send it more slowly than its minimum rate. */
  get textMs(): number {
    return Math.max(this.#limits.idleMs, MIN_TEXT_IDLE_MS)
  }

  /** Whether the session has lasted for as long as it may. */
  isOver(now: number): boolean {
    return now - this.#begun > this.#limits.sessionMs
  }

  /** We have answered, or are ready for more of a message: it is the client's turn from now on. */
  turn(now: number): void {
    this.#since = now
  }

  /** A part of a line has come. @returns milliseconds left for the rest of it; 0 or less: it is late */
  typing(now: number): number {
    this.#typing ??= now
    return this.#since + this.#limits.idleMs - now
  }

  /** A line is complete. */
  typed(now: number): void {
    if (this.#typing === undefined) return
    if (now - this.#typing > SLOW_LINE_MS) this.typesSlowly = true
    this.#typing = undefined
  }

  /** A message begins. */
  body(now: number): void {
    this.#since = now
    this.#left = this.textMs
  }

  /** A part of the message has come. @returns whether the message has been too slow for too long */
  part(octets: number, now: number): boolean {
    const { minDataRate } = this.#limits
    if (minDataRate === undefined) return false
    this.#left = Math.min(this.textMs, this.#left - (now - this.#since) + (octets * 1000) / minDataRate)
    this.#since = now
    return this.#left <= 0
  }
}
