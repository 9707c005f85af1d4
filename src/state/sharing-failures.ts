/** Tells the operator that something is not shared over Redis: what fails once a second must not fill the log. */
import type { Log } from '../telemetry/log.ts'
import { redisMessageOf } from './redis.ts'

const EVERY_MS = 3_600_000
/** Redis chooses the words, and they may be long. */
const LONGEST = 200

export interface SharingFailuresOptions {
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  readonly log: Log
}

export class SharingFailures {
  readonly #options: SharingFailuresOptions
  readonly #message: string
  /** When one was last logged, by `elapsed`. */
  #loggedAt = Number.NEGATIVE_INFINITY

  /** @param message what is not shared */
  constructor(options: SharingFailuresOptions, message: string) {
    this.#options = options
    this.#message = message
  }

  /** Logs the failure, unless one was logged within the last hour. */
  tell(error: unknown): void {
    const { elapsed, log } = this.#options
    const at = elapsed()
    if (at - this.#loggedAt < EVERY_MS) return
    this.#loggedAt = at
    log.warn({ err: redisMessageOf(error).slice(0, LONGEST) }, this.#message)
  }
}
