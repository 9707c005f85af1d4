/**
 * Charges Redis for one client: a client that this node's own count has let in may be over its limits in the cluster.
 * All limits are charged at once, and the answers are read from narrow to wide.
 */

import { Late, within } from '../core/deadline.ts'
import { LIMITS } from '../core/limits.ts'
import type { MutableUsage, Usage, Use } from '../core/usage.ts'
import type { Counted } from './limiter.ts'
import type { LimitsOptions } from './limits.ts'
import type { Account, Outbox } from './outbox.ts'
import type { RedisHealth } from './redis-health.ts'
import type { Refusals } from './refusals.ts'
import type { Scope } from './scopes.ts'

/** A limit with its counter in Redis. */
export interface Shared extends Scope {
  readonly account: Account
  readonly refusals: Refusals
}

export interface Charged {
  readonly scope: Shared
  readonly key: string
  /** The client's maximum in the cluster. */
  readonly max: number
  /** The use by this node's own count. */
  readonly used: number
  /** The answer of Redis, or the error; undefined if it was late. */
  answer?: Counted | Error
}

export interface QuestionsOptions {
  readonly health: RedisHealth
  readonly outbox: Outbox
  readonly timeoutMs: number
  readonly enforced: LimitsOptions['enforced']
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
}

/**
 * A limit that many clients share may get room when something is given back to others, so Redis is asked again after
 * this.
 */
const ASK_AGAIN_MS = 1000

export class Questions {
  readonly #options: QuestionsOptions

  constructor(options: QuestionsOptions) {
    this.#options = options
  }

  /**
   * Resolves with the answers of Redis or, where there is none in time, with this node's own count against its share.
   * If one limit refuses, everything that was charged is given back. Never rejects.
   * @param usage by this node's own count @param at when it was charged
   */
  async ask(charged: readonly Charged[], usage: MutableUsage, at: number): Promise<Usage> {
    const { timeoutMs, elapsed, health, outbox } = this.#options
    outbox.flush()
    const started = elapsed()
    const answers = charged.map(async (one) => {
      one.answer = await one.scope.account.counter.charge(one.key, one.max).catch((error: Error) => error)
    })
    await within(Promise.all(answers), timeoutMs).catch(() => undefined)
    health.took('take', started)
    for (const { answer } of charged) {
      health.result('take', answer === undefined ? new Late() : answer instanceof Error ? answer : undefined)
    }
    const failed = charged.filter(({ answer }) => !isCounted(answer))
    const reason = failed[0]?.answer
    const late = `no answer within ${timeoutMs} ms`
    health.asked(failed.length < charged.length ? undefined : reason instanceof Error ? reason.message : late)
    return this.#conclude(charged, usage, at)
  }

  /** Reads the answers from narrow to wide. */
  #conclude(charged: readonly Charged[], usage: MutableUsage, at: number): Usage {
    let refusal: Charged | undefined
    const kept: Charged[] = []
    for (const one of charged) {
      const { scope, key, answer } = one
      const { limit, table } = scope
      this.#remember(one)
      if (refusal !== undefined) {
        delete usage[limit]
        kept.push(one)
        continue
      }
      const use = this.#useOf(one)
      usage[limit] = use
      if (use.used <= use.max) {
        kept.push(one)
        if (answer instanceof Error && scope.isGlobal) this.tell(one, usage)
        continue
      }
      if (this.#options.enforced(limit)) refusal = one
      table.refund(key, at)
    }
    if (refusal === undefined) return usage
    for (const { scope, key } of kept) scope.table.refund(key, at)
    for (const { scope, key, answer, max } of charged) {
      if (isCounted(answer) && answer.used <= max) this.#options.outbox.add(scope.account, key, -1)
    }
    return usage
  }

  /** Remembers what stays true for a while after the answer. */
  #remember({ scope, key, max, answer }: Charged): void {
    if (!isCounted(answer)) return
    scope.account.heard(key, answer.used)
    if (answer.used <= max) return
    const isOfMany = LIMITS[scope.limit].per !== 'source'
    const waitMs = isOfMany ? Math.min(answer.waitMs, ASK_AGAIN_MS) : answer.waitMs
    scope.refusals.remember(key, max, waitMs, this.#options.now())
  }

  /** The use by the answer of Redis or, without an answer, by this node's own count against its share. */
  #useOf({ scope: { rate }, max, answer, used }: Charged): Use {
    const { windowMs } = rate
    if (!isCounted(answer)) return { used, max: this.#options.health.share(max), windowMs }
    return answer.used > max ? { used: answer.used, max, windowMs } : { used: answer.used, max, windowMs, shared: true }
  }

  /** What was let in without an answer of Redis is reported to it later. */
  tell({ scope: { limit, account }, key }: Charged, usage: MutableUsage): void {
    this.#options.outbox.add(account, key, 1)
    usage[limit] = { ...(usage[limit] as Use), shared: true }
  }
}

const isCounted = (answer: Charged['answer']): answer is Counted => answer !== undefined && !(answer instanceof Error)
