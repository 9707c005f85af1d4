/**
 * What is done over Redis again and again, in the background: one round after the other, never two at a time. A round that fails is told to
 * the operator (sharing-failures.ts), and the next one comes in its turn.
 */
import { within } from '../core/deadline.ts'
import type { SharingFailures } from './sharing-failures.ts'

const STOP_MS = 500

export interface RoundsOptions {
  /** How often a round begins. */
  readonly everyMs: number
  /** Asked before each round. There is none while Redis is away. */
  readonly isDue: () => boolean
  readonly work: () => Promise<void>
  readonly failures: SharingFailures
}

export class Rounds {
  readonly #options: RoundsOptions
  #timer: NodeJS.Timeout | undefined
  #busy: Promise<void> | undefined
  #isStopped = false

  constructor(options: RoundsOptions) {
    this.#options = options
  }

  /** A round that is under way should end soon. */
  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Resolves when the first round is over. */
  start(): Promise<void> {
    this.#timer ??= setInterval(() => void this.step(), this.#options.everyMs).unref()
    return this.step()
  }

  /** Begins a round, if one is due and none is under way. Resolves when it is over; never rejects. */
  step(): Promise<void> {
    const { isDue, work, failures } = this.#options
    if (!isDue()) return this.#busy ?? Promise.resolve()
    this.#busy ??= work()
      .catch((error: unknown) => failures.tell(error))
      .finally(() => {
        this.#busy = undefined
      })
    return this.#busy
  }

  /** Waits for the round that is under way, then does the rest, as far as half a second suffices. Never rejects. */
  async stop(rest: () => Promise<void>): Promise<void> {
    clearInterval(this.#timer)
    this.#isStopped = true
    const end = async (): Promise<void> => {
      await this.#busy
      await rest()
    }
    await within(end(), STOP_MS).catch(() => undefined)
  }
}
