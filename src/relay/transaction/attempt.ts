/**
 * A client waits for one server, and may still go to another: none has taken MAIL of its transaction yet. The server is left at
 * once when it is judged down, and for another that has room when it is judged slow or when it has had its time. Where no other
 * has room it is waited for as long as the client waits.
 */
import type { Clock } from '../../core/clock.ts'
import type { Server } from '../pool/server.ts'
import type { SmtpClient } from '../smtp/smtp-client.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'

/** When, of `elapsed`, a server is given up for another that has room, and when all is too late. */
export interface Deadlines {
  readonly moveAt: number
  readonly endAt: number
}

export interface AttemptOptions {
  /** When, of `elapsed`, the server has had its time. */
  readonly moveAt: number
  readonly elapsed: Clock['elapsed']
  readonly hasRoomElsewhere: () => boolean
}

/** Behind `moveAt`: how often it is looked whether another server has room, in milliseconds. */
const LOOK_MS = 250

export class Attempt {
  readonly #server: Server
  readonly #options: AttemptOptions
  /** Made where somebody asks for its signal. */
  #abort: AbortController | undefined
  readonly #started: number
  readonly #judged = (): void => this.#look()
  #timer: NodeJS.Timeout | undefined
  #smtp: SmtpClient | undefined
  #moved: UpstreamError | undefined

  constructor(server: Server, options: AttemptOptions) {
    this.#server = server
    this.#options = options
    this.#started = options.elapsed()
    server.attempts.add(this.#judged)
    this.#timer = setTimeout(() => this.#late(), Math.max(0, options.moveAt - this.#started))
  }

  /** Aborted when the server is left; the reason is then an UpstreamError. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#moved !== undefined) this.#abort.abort(this.#moved)
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

  /** @returns why the server was left, where it was */
  stop(): UpstreamError | undefined {
    this.#server.attempts.delete(this.#judged)
    clearTimeout(this.#timer)
    return this.#moved
  }

  #late(): void {
    this.#timer = setTimeout(() => this.#late(), LOOK_MS)
    this.#look()
  }

  #look(): void {
    const { hasRoomElsewhere, elapsed } = this.#options
    const ms = Math.round(elapsed() - this.#started)
    if (!this.#server.up) this.#move(`judged down while it was waited for, for ${ms} ms`)
    else if (hasRoomElsewhere()) this.#move(`not ready in ${ms} ms, and another server has room`)
  }

  #move(why: string): void {
    this.stop()
    this.#moved = new UpstreamError('timeout', why)
    this.#moved.connected = true
    this.#smtp?.destroy(why)
    this.#abort?.abort(this.#moved)
  }
}
