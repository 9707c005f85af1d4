/**
 * What Redis is told without anybody waiting: charges that are given back, recipients counted here, and what was let in
 * while Redis was away. Amounts are summed by counter. They go out with the next charge for a client, or a moment later
 * in a write of their own. An amount is valid only for the window in which it was counted; later it would be charged to
 * the wrong one. When the outbox is full, amounts that are too old make room. Amounts for the global limits, which have
 * one counter each, are always accepted.
 */
import type { SharedCounter } from './limiter.ts'
import { EVERYBODY } from './scopes.ts'

export interface Account {
  readonly counter: SharedCounter
  readonly windowMs: number
  /** Called with what the cluster has then counted for the key. */
  readonly heard: (key: string, used: number) => void
}

interface Entry {
  readonly account: Account
  readonly key: string
  amount: number
  window: number
}

export interface OutboxOptions {
  readonly now: () => number
  /** Whether Redis is asked at the moment. While it is not, amounts are kept. */
  readonly open: () => boolean
  /** Called for each command that is sent. */
  readonly sent: (answer: Promise<unknown>) => void
}

/** The most counters that have an amount. Any more are not reported to Redis, only counted here. */
const CAPACITY = 10_000
/** The most commands in one write. */
const BATCH = 500
const WAIT_MS = 100

export class Outbox {
  readonly #options: OutboxOptions
  readonly #entries = new Map<Account, Map<string, Entry>>()
  #size = 0
  #timer: NodeJS.Timeout | undefined
  #sweptAt = Number.NEGATIVE_INFINITY

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** @param amount a whole number; a negative amount is given back */
  add(account: Account, key: string, amount: number): void {
    let ofAccount = this.#entries.get(account)
    if (ofAccount === undefined) {
      ofAccount = new Map()
      this.#entries.set(account, ofAccount)
    }
    const window = this.#window(account)
    const entry = ofAccount.get(key)
    if (entry !== undefined) {
      entry.amount = entry.window === window ? entry.amount + amount : amount
      entry.window = window
    } else if (key === EVERYBODY || this.#hasRoom()) {
      ofAccount.set(key, { account, key, amount, window })
      this.#size++
    } else return
    this.#later()
  }

  /** Sends what there is, but no more than a batch. The rest follows later. */
  flush(): void {
    if (this.#size === 0 || !this.#options.open()) return
    let sent = 0
    for (const entries of this.#entries.values()) {
      for (const [key, { account, amount, window }] of entries) {
        if (sent >= BATCH) break
        entries.delete(key)
        this.#size--
        if (amount === 0 || window !== this.#window(account)) continue
        sent++
        const answer = account.counter.add(key, amount)
        this.#options.sent(answer)
        answer.then(
          ({ used }) => account.heard(key, used),
          () => undefined,
        )
      }
    }
    if (this.#size > 0) this.#later()
  }

  /** Sends what there is one last time, but no more than a batch. */
  stop(): void {
    this.flush()
    clearTimeout(this.#timer)
  }

  #later(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.flush()
    }, WAIT_MS).unref()
  }

  /**
   * Scans the entries at most once in WAIT_MS, so that a flood that finds the outbox full does not scan it each time.
   */
  #hasRoom(): boolean {
    if (this.#size < CAPACITY) return true
    const now = this.#options.now()
    if (Math.abs(now - this.#sweptAt) < WAIT_MS) return false
    this.#sweptAt = now
    for (const [account, entries] of this.#entries) {
      const window = this.#window(account)
      for (const [key, entry] of entries) {
        if (entry.window === window) continue
        entries.delete(key)
        this.#size--
      }
    }
    return this.#size < CAPACITY
  }

  #window({ windowMs }: Account): number {
    return Math.floor(this.#options.now() / windowMs)
  }
}
