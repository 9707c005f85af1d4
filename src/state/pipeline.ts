/** What a node tells Redis at one time: the amounts of many keys, in one write. */
import { within } from '../core/deadline.ts'
import type { Account } from './account.ts'
import { redisMessageOf } from './redis.ts'

export interface PipelineOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** Called once for each command: it was answered, has failed, or is late. @param started by `elapsed` */
  readonly outcome: (started: number, failure: unknown) => void
}

export class Pipeline {
  readonly #options: PipelineOptions
  readonly #batch: number
  readonly #started: number
  readonly #state = new Map<Account, 'sent' | 'answered' | 'failed'>()
  /** The keys that an amount was sent of. */
  readonly #writes = new Set<Account>()
  readonly #answers: Promise<void>[] = []
  #error: unknown
  #isOver = false

  /** @param batch a number that grows from pipeline to pipeline */
  constructor(options: PipelineOptions, batch: number) {
    this.#options = options
    this.#batch = batch
    this.#started = options.elapsed()
  }

  get size(): number {
    return this.#state.size
  }

  /** Sends what there is to tell of a key. @param isAsked whether to ask also if there is nothing @returns whether it was sent */
  tell(account: Account, isAsked: boolean): boolean {
    if (this.#state.has(account)) return false
    const { now, elapsed } = this.#options
    const report = account.report(this.#batch, now())
    if (report.amount === 0 && !isAsked) return false
    this.#state.set(account, 'sent')
    if (report.amount !== 0) this.#writes.add(account)
    const answer = account.counter.add(account.key, report.amount, report.batch).then(
      (heard) => {
        // A late answer is as good as any.
        account.answered(report, heard, elapsed())
        this.#settle(account, 'answered')
      },
      (error: unknown) => this.#settle(account, 'failed', error),
    )
    this.#answers.push(answer)
    return true
  }

  /** Resolves when all commands were answered or have failed, and after `ms` in any case. */
  async answered(ms: number): Promise<void> {
    await within(Promise.all(this.#answers), ms).catch((late: unknown) => {
      for (const [account, state] of this.#state) if (state === 'sent') this.#settle(account, 'failed', late)
    })
    this.#isOver = true
  }

  /**
   * What became of the amounts. That Redis answers what is only asked says little: one that is full, or can only be read from, does so.
   * undefined: there were none. @returns `told` if any was acknowledged, else why none was, in words
   */
  get result(): 'told' | { readonly failure: string } | undefined {
    if (this.#writes.size === 0) return undefined
    for (const account of this.#writes) if (this.#state.get(account) === 'answered') return 'told'
    return { failure: redisMessageOf(this.#error) }
  }

  /** The keys with the given outcome. */
  with(outcome: 'answered' | 'failed'): Account[] {
    return [...this.#state].flatMap(([account, state]) => (state === outcome ? [account] : []))
  }

  #settle(account: Account, state: 'answered' | 'failed', failure?: unknown): void {
    if (this.#isOver) return
    this.#state.set(account, state)
    this.#error ??= failure
    this.#options.outcome(this.#started, failure)
  }
}
