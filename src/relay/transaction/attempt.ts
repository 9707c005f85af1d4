/**
 * A client waits for one server, and may still go to another: none has taken MAIL of its transaction yet. The server is left at
 * once when it is judged down, and for another when it is judged slow or has had its time; then only with a slot of the other
 * one in hand, or many would leave for one that has room for few. Until then it is waited for.
 */
import type { Clock } from '../../core/clock.ts'
import type { Server } from '../pool/server.ts'
import type { Slot } from '../pool/slots.ts'
import type { SmtpClient } from '../smtp/smtp-client.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'

export interface Deadlines {
  /** How long a server has, from when its slot is there, in milliseconds, before it is left for another that has room. */
  readonly patienceMs: number
  /** When, of `elapsed`, all is too late. */
  readonly endAt: number
}

export interface AttemptOptions {
  readonly patienceMs: number
  readonly elapsed: Clock['elapsed']
  /** A slot at another server that is well, at once or not at all. */
  readonly slotElsewhere: () => Slot | undefined
}

/** The server was left. */
export interface Moved {
  readonly why: UpstreamError
  /** Where it goes on; whoever hears of this has to use it or free it. */
  readonly to: Slot | undefined
}

/** When it has had its time: how often it is looked whether another server has room, in milliseconds. */
const LOOK_MS = 250

export class Attempt {
  readonly #server: Server
  readonly #options: AttemptOptions
  /** Made where somebody asks for its signal. */
  #abort: AbortController | undefined
  /** When it began, of `elapsed`. */
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

  /** Aborted when the server is left; the reason is then an UpstreamError. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#moved !== undefined) this.#abort.abort(this.#moved.why)
    return this.#abort.signal
  }

  /** The connection to close when the server is left. */
  leaving(smtp: SmtpClient): this {
    this.#smtp = smtp
    return this
  }

  /** Nobody wants it any more. */
  abort(why: string): void {
    this.stop()
    this.#abort ??= new AbortController()
    this.#abort.abort(why)
  }

  /** It is over. @returns undefined where the server was not left */
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
    if (!this.#server.up) {
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
