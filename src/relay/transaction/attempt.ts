/**
 * A client's wait for one server while it may still go to another, because no server has taken MAIL of its transaction yet. The
 * client leaves the server at once if it is judged down. If it is judged slow, is removed, or has had its time, the client leaves
 * it only with a slot at another server in hand: otherwise many clients would leave for a server that has room for few. Until
 * then the client goes on waiting.
 */
import type { Clock } from '../../core/clock.ts'
import type { Server } from '../pool/server.ts'
import type { Slot } from '../pool/slot.ts'
import type { SmtpClient } from '../smtp/smtp-client.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'

export interface Deadlines {
  /** How long a server has once its slot is taken, in milliseconds, before the client may leave it for another that has room. */
  readonly patienceMs: number
  /** When it is too late for everything; a time of `elapsed`. */
  readonly endAt: number
}

export interface AttemptOptions {
  readonly patienceMs: number
  readonly elapsed: Clock['elapsed']
  /** A slot at another server in state `up`, if there is one at once. */
  readonly slotElsewhere: () => Slot | undefined
}

/** The client left the server. */
export interface Moved {
  readonly why: UpstreamError
  /** Where the client goes next. The caller has to use this slot or free it. */
  readonly to: Slot | undefined
}

/** How often we look for room at another server once this one has had its time, in milliseconds. */
const LOOK_MS = 250

export class Attempt {
  readonly #server: Server
  readonly #options: AttemptOptions
  /** Made only if a caller asks for its signal. */
  #abort: AbortController | undefined
  /** When the attempt began; a time of `elapsed`. */
  readonly started: number
  readonly #judged = (): void => this.#look()
  #timer: NodeJS.Timeout | undefined
  #smtp: SmtpClient | undefined
  #moved: Moved | undefined

  constructor(server: Server, options: AttemptOptions) {
    this.#server = server
    this.#options = options
    this.started = options.elapsed()
    server.attempts.add(this.#judged)
    this.#timer = setTimeout(() => this.#late(), options.patienceMs)
  }

  /** Aborted when the client leaves the server; the reason is then an UpstreamError. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#moved !== undefined) this.#abort.abort(this.#moved.why)
    return this.#abort.signal
  }

  /** Names the connection to close when the client leaves the server. */
  leaving(smtp: SmtpClient): this {
    this.#smtp = smtp
    return this
  }

  /** The attempt is no longer wanted. */
  abort(why: string): void {
    this.stop()
    this.#abort ??= new AbortController()
    this.#abort.abort(why)
  }

  /** Ends the attempt. @returns undefined if the client did not leave the server */
  stop(): Moved | undefined {
    this.#server.attempts.delete(this.#judged)
    clearTimeout(this.#timer)
    return this.#moved
  }

  #late(): void {
    this.#timer = setTimeout(() => this.#late(), LOOK_MS)
    this.#look()
  }

  #look(): void {
    const { slotElsewhere, elapsed } = this.#options
    const ms = Math.round(elapsed() - this.started)
    if (this.#server.health === 'down') {
      this.#move(`judged down while it was waited for, for ${ms} ms`, undefined)
      return
    }
    const slot = slotElsewhere()
    if (slot !== undefined) this.#move(`not ready in ${ms} ms, and another server has room`, slot)
  }

  #move(text: string, to: Slot | undefined): void {
    const why = new UpstreamError('timeout', text)
    why.connected = true
    this.#moved = { why, to }
    this.stop()
    this.#smtp?.destroy(text)
    this.#abort?.abort(why)
  }
}
