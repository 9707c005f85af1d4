/**
 * What Redis shall hear, but nobody waits for: charges given back, recipients counted here, what was let in while Redis was
 * away. It is summed per counter, goes along in the write of the next question, or in one of its own a moment later where no
 * question comes, and is good for the window it was counted in: what is older would be charged to the wrong one. Where it
 * is full, what has become too old makes room; what was counted for everybody is one counter a limit and always taken.
 */
import type { SharedCounter } from './limiter.ts'
import { EVERYBODY } from './scopes.ts'

export interface Account {
  readonly counter: SharedCounter
  readonly windowMs: number
  /** What the cluster has counted for the key after that. */
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
  /** Whether Redis is asked now; what there is to say is kept while it is not. */
  readonly open: () => boolean
  /** Called for each command sent. */
  readonly sent: (answer: Promise<unknown>) => void
}

/** Counters with something to say; what comes on top is not told to Redis, only counted here. */
const CAPACITY = 10_000
/** Commands in one write. */
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

  /** @param amount whole; below 0: given back */
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

  /** Sends what there is, at most a batch; the rest follows. */
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

  /** Says once more what it has, at most a batch; nothing after that by itself. */
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

  /** Looks through all there is at most once in WAIT_MS, so that a flood that finds it full does not do so each time. */
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
