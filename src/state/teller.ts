/**
 * Tells Redis what this node has let in, and hears what all nodes have. Nobody waits for it: the amounts of all keys with something
 * to tell go out together, one pipeline at a time. The keys that all clients share go with every pipeline, so that this
 * node hears of them as long as there is traffic.
 *
 * Near the end of such a limit what was heard is soon stale, because all nodes use up what is left at the same time. So for a
 * moment after each client then, Redis is asked again as soon as it has answered.
 *
 * A pipeline that is not answered within `timeoutMs` counts as lost. What it carried is sent again under its number, and Redis
 * counts it once. It is sent again by itself, later each time, so that a cluster that has lost a part of its keys is not
 * flooded with them, and the other keys do not wait.
 */
import type { Account } from './account.ts'
import type { SharedCounter } from './limiter.ts'
import { Pipeline, type PipelineOptions } from './pipeline.ts'

export interface TellerOptions extends PipelineOptions {
  readonly timeoutMs: number
  /** Whether commands can be sent at all. */
  readonly isOpen: () => boolean
  /** Whether Redis answers at the moment. */
  readonly isUp: () => boolean
  /** Called when a pipeline with amounts is over. @param failure undefined if any amount was acknowledged */
  readonly told: (failure: string | undefined) => void
}

/** `now`: at once; `soon`: within 10 ms; `later`: within 50 ms. Each takes the rest along. */
export type When = 'now' | 'soon' | 'later'

/** So long what goes soon waits for more, in milliseconds. */
const SOON_MS = 10
/** The same for what goes later. */
const LATER_MS = 50
/** The same while Redis is away. */
const AWAY_MS = 250
/** After so long what has failed is sent again, in milliseconds; after twice that when it has failed again … */
const FIRST_RETRY_MS = 20
/** … up to this. */
const LAST_RETRY_MS = 2000
/** How long after a client Redis is asked again and again, and how far apart, in milliseconds. */
const FRESH_MS = 10
const ASK_MS = 1
/** Keys in one pipeline. */
const BATCH = 500
/** Keys that there is something to tell of. Any more wait for their next client. */
const CAPACITY = 1 << 16

export class Teller {
  readonly #options: TellerOptions
  readonly #waiting = new Set<Account>()
  readonly #failed = new Set<Account>()
  /** Those that have failed and wait again, or are on their way again. */
  readonly #retried = new Set<Account>()
  readonly #refreshed = new Set<Account>()
  /** Counters whose limits were switched off, or count in other windows now. */
  readonly #ended = new WeakSet<SharedCounter>()
  #batch = 0
  #timer: NodeJS.Timeout | undefined
  /** When it goes off, by `elapsed`. */
  #dueAt = 0
  #immediate: NodeJS.Immediate | undefined
  #retry: NodeJS.Timeout | undefined
  #retryMs = FIRST_RETRY_MS
  /** The pipeline under way. */
  #round: Promise<void> | undefined
  #isUrgent = false
  #isSoon = false
  /** Until when, by `elapsed`, what was heard is to be fresh. */
  #freshUntil = Number.NEGATIVE_INFINITY
  #stopped = false

  constructor(options: TellerOptions) {
    this.#options = options
  }

  /** Whether Redis has acknowledged everything that it was to be told. */
  get isIdle(): boolean {
    return this.#waiting.size === 0 && !this.hasFailed && this.#round === undefined
  }

  /** Whether there is something that Redis was told and has not acknowledged in time. */
  get hasFailed(): boolean {
    return this.#failed.size > 0
  }

  tell(account: Account, when: When): void {
    // What has failed goes with the rest of it.
    if (this.#failed.has(account) || this.#isEnded(account)) return
    if (this.#waiting.size + this.#failed.size < CAPACITY) this.#waiting.add(account)
    if (when === 'now') this.#isUrgent = true
    else if (when === 'soon') this.#isSoon = true
    this.#schedule()
  }

  /** This one goes with every pipeline. */
  refresh(account: Account): void {
    this.#refreshed.add(account)
  }

  /** Nothing is told of the keys of this counter any more. */
  forget(counter: SharedCounter): void {
    this.#ended.add(counter)
    for (const accounts of [this.#waiting, this.#failed, this.#retried, this.#refreshed]) {
      for (const account of accounts) if (this.#isEnded(account)) accounts.delete(account)
    }
  }

  #isEnded({ counter }: Account): boolean {
    return this.#ended.has(counter)
  }

  /** What was heard of the keys that all clients share is to be fresh for a moment. */
  keepFresh(): void {
    this.#freshUntil = this.#options.elapsed() + FRESH_MS
    this.#schedule()
  }

  /** Sends all that there is now, unless a pipeline is under way; for when Redis is back. */
  flush(): void {
    this.#retryMs = FIRST_RETRY_MS
    this.#again()
    this.#begin()
  }

  /** Tells what is left, as far as one pipeline takes it, and then nothing more. */
  async stop(): Promise<void> {
    await this.#round
    this.flush()
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#retry)
    clearImmediate(this.#immediate)
    await this.#round
  }

  #schedule(): void {
    if (this.#stopped || this.#round !== undefined || this.#immediate !== undefined) return
    const { isUp, elapsed } = this.#options
    if (this.#isUrgent && isUp()) {
      this.#immediate = setImmediate(() => this.#begin())
      return
    }
    const ms = this.#isToBeFresh ? ASK_MS : !isUp() ? AWAY_MS : this.#isSoon ? SOON_MS : LATER_MS
    const dueAt = elapsed() + ms
    // A client brings it forward, and never puts it off: however many come, it goes out.
    if (this.#timer !== undefined && this.#dueAt <= dueAt) return
    clearTimeout(this.#timer)
    this.#dueAt = dueAt
    this.#timer = setTimeout(() => this.#begin(), ms).unref()
  }

  #begin(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#timer = undefined
    this.#immediate = undefined
    if (this.#stopped || this.#round !== undefined || (this.#waiting.size === 0 && !this.#isToBeFresh)) return
    if (!this.#options.isOpen()) return
    this.#isUrgent = false
    this.#isSoon = false
    this.#round = this.#tellAll().finally(() => {
      this.#round = undefined
      if (this.#waiting.size > 0 || this.#isToBeFresh) this.#schedule()
    })
  }

  get #isToBeFresh(): boolean {
    const { isUp, elapsed } = this.#options
    return isUp() && elapsed() < this.#freshUntil
  }

  /** Never rejects. */
  async #tellAll(): Promise<void> {
    const { timeoutMs, now, elapsed, told } = this.#options
    const pipeline = new Pipeline(this.#options, ++this.#batch)
    for (const account of this.#waiting) {
      if (pipeline.size >= BATCH) break
      this.#waiting.delete(account)
      // One whose answer came late has nothing left.
      if (!pipeline.tell(account, account.isUnheard(elapsed()))) this.#retried.delete(account)
    }
    // What is left over has waited for long enough.
    if (this.#waiting.size > 0) this.#isSoon = true
    if (pipeline.size === 0 && !this.#isToBeFresh) return
    for (const account of this.#refreshed) pipeline.tell(account, true)
    await pipeline.answered(timeoutMs)
    // What came after a report that had to be repeated.
    for (const account of pipeline.with('answered')) {
      if (!this.#waiting.has(account) && !this.#isEnded(account) && account.hasMore(now())) {
        this.#waiting.add(account)
        this.#isSoon = true
      }
      if (this.#retried.delete(account)) this.#retryMs = FIRST_RETRY_MS
    }
    for (const account of pipeline.with('failed')) {
      this.#retried.delete(account)
      this.#waiting.delete(account)
      if (!this.#isEnded(account)) this.#failed.add(account)
    }
    if (this.hasFailed) this.#retryLater()
    const { result } = pipeline
    if (result !== undefined) told(result === 'told' ? undefined : result.failure)
  }

  #retryLater(): void {
    if (this.#stopped || this.#retry !== undefined) return
    this.#retry = setTimeout(() => {
      this.#again()
      this.#begin()
    }, this.#retryMs).unref()
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS)
  }

  #again(): void {
    clearTimeout(this.#retry)
    this.#retry = undefined
    for (const account of this.#failed) {
      this.#waiting.add(account)
      this.#retried.add(account)
    }
    this.#failed.clear()
  }
}
