/**
 * Signals, from the first moment of the program on. By default they would end it; what comes before it serves is obeyed when it does.
 *
 * The same handler stays to the end. Node drops a signal that the process has received and no handler has heard of yet when the last
 * handler is removed, also where another one is added at once. So a handler that takes the place of another one may miss it.
 */
/** Two SIGINTs within this time come from one press of Ctrl-C: npm passes on what the program has already received. */
export const SAME_PRESS_MS = 400

const NOTED = ['SIGHUP', 'SIGTERM', 'SIGINT'] as const
export type NotedSignal = (typeof NOTED)[number]

export class EarlySignals {
  /** Resolves when the program is asked to stop. */
  readonly asked: Promise<void>
  readonly #seen = new Map<NotedSignal, number>()
  readonly #ask: () => void
  #to: ((signal: NotedSignal) => void) | undefined

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.asked = promise
    this.#ask = resolve
    for (const signal of NOTED) process.on(signal, this.#hear)
  }

  /** From now on somebody hears them. What came before, he hears at once: one that stops the program, and otherwise SIGHUP. */
  pass(to: (signal: NotedSignal) => void): void {
    this.#to = to
    const [first] = [...this.#seen.keys()].sort((a, b) => Number(a === 'SIGHUP') - Number(b === 'SIGHUP'))
    if (first !== undefined) to(first)
  }

  /** From now on they do what they do by default. One that has come ends the process, or shall, now. */
  giveBack(): void {
    for (const signal of NOTED) process.off(signal, this.#hear)
    for (const signal of this.#seen.keys()) process.kill(process.pid, signal)
  }

  readonly #hear = (signal: NotedSignal): void => {
    if (this.#to !== undefined) {
      this.#to(signal)
      return
    }
    const now = performance.now()
    const before = this.#seen.get(signal)
    if (before === undefined) this.#seen.set(signal, now)
    // A start may hang, and somebody who asks twice does not want to wait for it.
    else if (signal !== 'SIGHUP' && now - before > SAME_PRESS_MS) process.exit(1)
    if (signal !== 'SIGHUP') this.#ask()
  }
}
