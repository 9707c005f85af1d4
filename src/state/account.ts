/**
 * What one node knows about one key of a limit that nodes share: what it has let in and not yet told Redis, and what Redis last
 * said that all nodes together have let in.
 *
 * Both count in a sliding window of two buckets, as table.ts does: the present window, and of the one before it the share that
 * still lies within the window's length. What is untold is counted in windows of this node's clock, what was heard in those of
 * Redis, whose answer says when its window ends. So what was heard runs out by itself when Redis answers no more.
 *
 * A report is sent until it is answered, with the number of the batch it was first sent in: Redis counts it once (limiter.ts).
 */
import type { Heard, SharedCounter } from './limiter.ts'

export interface AccountOptions {
  readonly key: string
  readonly counter: SharedCounter
  readonly windowMs: number
}

/** For so long after an answer it is foreseen what the other nodes do, in milliseconds. */
const FORESEEN_MS = 100

/** An amount on its way to Redis; the batch is a number that grows. */
export interface Report {
  readonly amount: number
  readonly batch: number
}

/** Times `at` are in ms since the epoch, times `elapsed` in ms of a clock that never goes back. */
export class Account {
  readonly #options: AccountOptions
  /** The window of this node's clock that `#current` was counted in. */
  #window = 0
  #current = 0
  #previous = 0
  #sent: (Report & { readonly window: number }) | undefined
  #heard: (Heard & { readonly at: number; readonly endsAt: number }) | undefined
  /** How many the other nodes have let in a millisecond, between the last two answers. */
  #others = 0

  constructor(options: AccountOptions) {
    this.#options = options
  }

  get key(): string {
    return this.#options.key
  }

  get counter(): SharedCounter {
    return this.#options.counter
  }

  /** Counts what this node has let in; below 0: what it has given back. */
  add(amount: number, at: number): void {
    this.#advance(at)
    this.#current += amount
  }

  /** What this node has let in within the last window and Redis has not acknowledged. */
  untold(at: number): number {
    this.#advance(at)
    return this.#current + this.#fading(at, this.#previous) + this.#onItsWay(at)
  }

  /** What all nodes together have let in within the last window, by the last answer of Redis. */
  known(elapsed: number): number {
    if (this.#heard === undefined) return 0
    const { windowMs } = this.#options
    const { current, previous, endsAt } = this.#heard
    if (elapsed < endsAt) return current + (previous * (endsAt - elapsed)) / windowMs
    return Math.max(0, (current * (endsAt + windowMs - elapsed)) / windowMs)
  }

  /** `known`, and what the other nodes have let in since, if they went on as before the last answer. */
  expected(elapsed: number): number {
    if (this.#heard === undefined) return 0
    const age = elapsed - this.#heard.at
    return this.known(elapsed) + (age <= FORESEEN_MS ? this.#others * age : 0)
  }

  /** Whether Redis has never answered on this key, or so long ago that nothing of the answer holds. */
  isUnheard(elapsed: number): boolean {
    return this.#heard === undefined || elapsed >= this.#heard.endsAt + this.#options.windowMs
  }

  /** What Redis is to be told now, which may be 0. A report that was not answered is repeated before anything new. */
  report(batch: number, at: number): Report {
    this.#advance(at)
    // Too old for any window: it was let in, and counts no more.
    if (this.#sent !== undefined && this.#window - this.#sent.window > 1) this.#sent = undefined
    if (this.#sent !== undefined) return this.#sent
    const amount = this.#due(at)
    if (amount === 0) return { amount, batch }
    this.#current = 0
    this.#previous = 0
    this.#sent = { amount, batch, window: this.#window }
    return this.#sent
  }

  /** Whether there is something to report that came after the last report. */
  hasMore(at: number): boolean {
    this.#advance(at)
    return this.#due(at) !== 0
  }

  /** Redis has answered a report. */
  answered({ batch, amount }: Report, heard: Heard, elapsed: number): void {
    const before = this.#heard && { used: this.known(elapsed), ms: elapsed - this.#heard.at }
    const own = this.#sent?.batch === batch ? amount : 0
    if (this.#sent?.batch === batch) this.#sent = undefined
    this.#heard = { ...heard, at: elapsed, endsAt: elapsed + heard.leftMs }
    if (before !== undefined && before.ms > 0) {
      this.#others = Math.max(0, this.known(elapsed) - before.used - own) / before.ms
    }
  }

  /** What is to be reported next. What was let in at the last moment of a window counts nearly whole in the next, so it is rounded. */
  #due(at: number): number {
    return this.#current + Math.round(this.#fading(at, this.#previous))
  }

  #onItsWay(at: number): number {
    if (this.#sent === undefined) return 0
    const passed = this.#window - this.#sent.window
    if (passed <= 0) return this.#sent.amount
    return passed === 1 ? this.#fading(at, this.#sent.amount) : 0
  }

  /** Of an amount of the window before, the share that lies within a window's length. */
  #fading(at: number, amount: number): number {
    const { windowMs } = this.#options
    // Multiplied before it is divided, so that a whole number stays one.
    return amount === 0 ? 0 : (amount * (windowMs - (at - Math.floor(at / windowMs) * windowMs))) / windowMs
  }

  #advance(at: number): void {
    const window = Math.floor(at / this.#options.windowMs)
    const passed = window - this.#window
    if (passed === 0) return
    this.#window = window
    // A clock that steps back makes nothing older.
    if (passed < 0) return
    this.#previous = passed === 1 ? this.#current : 0
    this.#current = 0
  }
}
