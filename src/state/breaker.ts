/**
 * A circuit breaker for Redis. While it is closed, Redis is asked. While it is open, nobody waits for Redis, and only a
 * probe in the background checks whether Redis answers again. The breaker opens after three failures in a row, or at
 * once when the connection is lost, so that a hanging Redis delays only the clients of one moment and not every client.
 * It closes at the first probe that is answered in time. Questions that were under way at the same time fail together:
 * one short stall counts as one failure, however many questions it hits.
 */
import { within } from '../core/deadline.ts'

export interface BreakerOptions {
  /** A write, as clients' questions are, so that a server that is read-only does not count as back. */
  readonly probe: () => Promise<unknown>
  readonly timeoutMs: number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** Called at each change. @param reason why it opened */
  readonly changed: (closed: boolean, reason: string) => void
}

const FAILURES = 3
const PROBE_EVERY_MS = 250

export class Breaker {
  readonly #options: BreakerOptions
  #closed = false
  #failures = 0
  /** When a failure was last counted. */
  #failedAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #probing = false
  #stopped = false

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The breaker begins open. Resolves when it has closed, or after `ms` if it has not. */
  start(ms: number): Promise<void> {
    const { elapsed } = this.#options
    const until = elapsed() + ms
    return new Promise((resolve) => {
      const look = async (): Promise<void> => {
        await this.#probe()
        if (this.#closed || elapsed() >= until) return resolve()
        setTimeout(() => void look(), 10)
      }
      void look()
      this.#watch()
    })
  }

  succeeded(): void {
    this.#failures = 0
  }

  failed(reason: string): void {
    const now = this.#options.elapsed()
    if (!this.#closed || now - this.#failedAt < this.#options.timeoutMs) return
    this.#failedAt = now
    if (++this.#failures >= FAILURES) this.open(reason)
  }

  open(reason: string): void {
    if (!this.#closed || this.#stopped) return
    this.#closed = false
    this.#options.changed(false, reason)
    this.#watch()
    void this.#probe()
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
  }

  #watch(): void {
    if (this.#stopped || this.#timer !== undefined) return
    this.#timer = setInterval(() => void this.#probe(), PROBE_EVERY_MS)
    this.#timer.unref()
  }

  async #probe(): Promise<void> {
    if (this.#probing || this.#closed || this.#stopped) return
    this.#probing = true
    try {
      await within(this.#options.probe(), this.#options.timeoutMs)
      if (this.#stopped) return
      clearInterval(this.#timer)
      this.#timer = undefined
      this.#failures = 0
      this.#closed = true
      this.#options.changed(true, '')
    } catch {
      // Redis is still away.
    } finally {
      this.#probing = false
    }
  }
}
