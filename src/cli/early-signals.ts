/** Signals that come before the program serves. By default they would end it; they are obeyed when it does. */
/** Two SIGINTs within this time come from one press of Ctrl-C: npm passes on what the program has already received. */
export const SAME_PRESS_MS = 400

const NOTED = ['SIGHUP', 'SIGTERM', 'SIGINT'] as const

export class EarlySignals {
  readonly #seen = new Map<NodeJS.Signals, number>()

  constructor() {
    for (const signal of NOTED) process.on(signal, this.#note)
  }

  has(signal: NodeJS.Signals): boolean {
    return this.#seen.has(signal)
  }

  /** From now on somebody else handles them. */
  end(): void {
    for (const signal of NOTED) process.off(signal, this.#note)
  }

  /** A start may hang, and somebody who asks twice does not want to wait for it. */
  readonly #note = (signal: NodeJS.Signals): void => {
    const now = performance.now()
    const before = this.#seen.get(signal)
    if (before === undefined) this.#seen.set(signal, now)
    else if (signal !== 'SIGHUP' && now - before > SAME_PRESS_MS) process.exit(1)
  }
}
