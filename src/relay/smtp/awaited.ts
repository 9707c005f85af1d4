/**
 * The replies that are awaited on one connection, in their order. One timer serves them all: it goes off at the earliest of their
 * deadlines or before it. Nearly every reply comes in time, and then costs no timer of its own.
 */
import type { Clock } from '../../core/clock.ts'
import type { Reply } from './reply.ts'
import type { UpstreamError } from './upstream-error.ts'

interface Waiting {
  resolve(reply: Reply): void
  reject(error: UpstreamError): void
  readonly timeoutMs: number
  /** A time of `elapsed`. */
  readonly endAt: number
}

export class AwaitedReplies {
  readonly #elapsed: Clock['elapsed']
  /** Called when a reply has not come in its time. */
  readonly late: (timeoutMs: number) => void
  readonly #waiting: Waiting[] = []
  #timer: NodeJS.Timeout | undefined
  /** When the timer goes off; a time of `elapsed`. */
  #timerAt = Number.POSITIVE_INFINITY

  constructor(elapsed: Clock['elapsed'], late: (timeoutMs: number) => void) {
    this.#elapsed = elapsed
    this.late = late
  }

  get size(): number {
    return this.#waiting.length
  }

  wait(timeoutMs: number): Promise<Reply> {
    const endAt = this.#elapsed() + timeoutMs
    if (endAt < this.#timerAt) this.#setTimer(endAt, timeoutMs)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, timeoutMs, endAt })
    })
  }

  /** Gives `reply` to whoever has waited longest. */
  answer(reply: Reply): void {
    this.#waiting.shift()?.resolve(reply)
  }

  /** No more replies will come: all who wait receive the same error, which is made only if anybody does. */
  fail(error: () => UpstreamError): void {
    this.#stop()
    if (this.#waiting.length === 0) return
    const why = error()
    for (const { reject } of this.#waiting.splice(0)) reject(why)
  }

  #stop(): void {
    clearTimeout(this.#timer)
    this.#timerAt = Number.POSITIVE_INFINITY
  }

  #setTimer(at: number, ms: number): void {
    clearTimeout(this.#timer)
    this.#timerAt = at
    // The socket keeps the process alive for as long as a reply is awaited.
    this.#timer = setTimeout(() => this.#look(), ms).unref()
  }

  #look(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#elapsed()
    let next = Number.POSITIVE_INFINITY
    for (const { endAt, timeoutMs } of this.#waiting) {
      if (endAt <= now) {
        this.late(timeoutMs)
        return
      }
      next = Math.min(next, endAt)
    }
    if (next < Number.POSITIVE_INFINITY) this.#setTimer(next, next - now)
  }
}
