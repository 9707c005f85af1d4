/** Decides when the demo ends: at a signal, when its time is over, or when nobody reads its output any more. */
import { within } from '../../core/deadline.ts'
import { SAME_PRESS_MS } from '../early-signals.ts'

/** Sessions are ended a second after the signal; what takes longer than this is stuck. */
const STOP_DEADLINE_MS = 6000

export class Ending {
  #askedAt: number | undefined
  #ask: () => void = () => undefined
  #urge: () => void = () => undefined
  readonly #asked = new Promise<void>((resolve) => {
    this.#ask = resolve
  })
  readonly #urged = new Promise<void>((resolve) => {
    this.#urge = resolve
  })

  /** From here on no signal ends the process by itself, so that it can be tidied up at the end. */
  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => this.#end())
    process.stdout.on('error', () => this.#end())
  }

  #end(): void {
    const now = performance.now()
    if (this.#askedAt === undefined) this.#ask()
    else if (now - this.#askedAt > SAME_PRESS_MS) this.#urge()
    this.#askedAt ??= now
  }

  /**
   * Waits until the demo is to end, then stops everything.
   * @returns the exit code: 1 if stopping failed, took too long, or was cut short by a second signal
   */
  async over(seconds: number, takeDown: () => Promise<void>): Promise<number> {
    const timer = setTimeout(() => this.#end(), seconds * 1000)
    await this.#asked
    clearTimeout(timer)
    const down = takeDown().then(
      () => 0,
      () => 1,
    )
    const ended = Promise.race([down, this.#urged.then(() => 1)])
    return within(ended, STOP_DEADLINE_MS, () => 1)
  }
}
