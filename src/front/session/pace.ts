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
  /** How long a message may come more slowly than minRate. */
  readonly bodyMs: number
  /** Minimum rate of a message, in octets a second; undefined: none. */
  readonly minRate: number | undefined
  /** For a whole session. */
  readonly sessionMs: number
}

/** No machine takes longer than this to send one line. */
const SLOW_LINE_MS = 5000

export class Pace {
  readonly #limits: PaceLimits
  readonly #begun: number
  /** Since when it has been the client's turn. */
  #since: number
  /** When the first part of an unfinished line came. */
  #typing: number | undefined
  /** What is left of bodyMs, in a message. */
  #left = 0
  /** Whether it has ever sent a line more slowly than any machine does. */
  typesSlowly = false

  constructor(limits: PaceLimits, now: number) {
    this.#limits = limits
    this.#begun = now
    this.#since = now
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
    this.#left = this.#limits.bodyMs
  }

  /** A part of the message has come. @returns whether the message has been too slow for too long */
  part(octets: number, now: number): boolean {
    const { minRate, bodyMs } = this.#limits
    if (minRate === undefined) return false
    this.#left = Math.min(bodyMs, this.#left - (now - this.#since) + (octets * 1000) / minRate)
    this.#since = now
    return this.#left <= 0
  }
}
