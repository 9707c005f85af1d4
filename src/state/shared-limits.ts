/**
 * Limits that all nodes share: counted in this node's memory and in Redis.
 *
 * Local first: a client that is over a limit by this node's count alone is over it in the cluster as well. So the
 * node's own tables are charged first, with the full limit, and a client that is over is refused without asking Redis.
 * The same holds for a client that Redis refused a moment ago: the answer said when there will be room again, and until
 * then Redis is not asked. So the cost of refusing a client that keeps coming does not depend on Redis. For every other
 * client Redis is asked once. The commands (one for each limit, and what the outbox holds) go out in one write together
 * with those for all clients of that moment.
 *
 * All limits are charged at once, so a wide limit may be charged for a client that a narrow one refuses. The answers
 * are read from narrow to wide, and what was charged in vain is given back with the next write. Until then (a round
 * trip) a wide limit that is just full may refuse a client that it had room for. It never lets in a client that it had
 * no room for.
 *
 * If Redis is slow or away, the node waits `timeoutMs` for an answer, or not at all while the breaker is open. It then
 * enforces its share, which is the limit divided by the number of nodes. As all nodes do so, the cluster stays near the
 * limit: in one window it admits at most the limit plus the shares of the nodes for which Redis had let in nobody,
 * which is less than twice the limit. When Redis is back, it is told what the global limits and those on recipients and
 * unknown recipients have counted in the current window. What single addresses were charged meanwhile stays with the
 * node that counted it.
 *
 * Recipients and the mail servers' answers to them are counted without waiting (gathered.ts). Each node counts open
 * connections alone.
 */
import { type Client, isTrusted } from '../core/client.ts'
import { ALL_OFF, asSet, type GlobalLimit, type LimitName, type Maximum } from '../core/limits.ts'
import { type MutableUsage, NO_USAGE, type RecentRecipients, type Usage, type Use } from '../core/usage.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import { Gathered } from './gathered.ts'
import { createSharedCounter } from './limiter.ts'
import {
  type Budget,
  createLimits,
  isCharged,
  isRefused,
  type Limits,
  type LimitsOptions,
  type Part,
} from './limits.ts'
import { Outbox } from './outbox.ts'
import { type Charged, Questions, type Shared } from './question.ts'
import type { RedisLink } from './redis.ts'
import { type RedisCondition, RedisHealth } from './redis-health.ts'
import { Refusals } from './refusals.ts'
import { createScopes, EVERYBODY, isFirst, type Scope, type Scopes, scopeOf, trackedBy } from './scopes.ts'

export interface SharedLimits extends Limits {
  /** Resolves when Redis has answered, or after a moment without an answer. The limits work either way. */
  start(): Promise<void>
  /** Leaves the set of nodes. The caller opened the link and closes it. */
  stop(): Promise<void>
  /** Whether the limits of the whole cluster are enforced at the moment, and not this node's share of them. */
  shared(): boolean
  /** The number of live nodes, including this one. */
  nodes(): number
  /** The condition of Redis for the operator. */
  condition(): RedisCondition
  /** Counts a command that another part of the program sends to the same Redis. */
  watched<T>(use: RedisUse, answer: Promise<T>): Promise<T>
}

export interface SharedLimitsOptions extends LimitsOptions {
  readonly link: RedisLink
  /** The prefix of all keys. */
  readonly prefix: string
  readonly timeoutMs: number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** The name of this node, which no other node has. */
  readonly node: string
  readonly metrics: Metrics
  readonly log: Log
}

/** For each limit, how many keys are remembered as refused. */
const REFUSED = 1 << 16

export const createSharedLimits = (options: SharedLimitsOptions): SharedLimits => new CountedInRedis(options)

class CountedInRedis implements SharedLimits {
  readonly #options: SharedLimitsOptions
  readonly #maximum: Maximum
  readonly #scopes: Scopes
  readonly #stages: Readonly<Record<'connect' | 'rcpt', readonly Shared[]>>
  readonly #recipients: Gathered | undefined
  readonly #unknown: Gathered | undefined
  readonly #asked: Gathered | undefined
  readonly #health: RedisHealth
  readonly #outbox: Outbox
  readonly #questions: Questions
  /** For the budgets such as postmaster's, which are not shared. */
  readonly #own: Limits
  /** The last answers of Redis for the global limits. */
  readonly #told = new Map<LimitName, { readonly used: number; readonly at: number }>()

  constructor(options: SharedLimitsOptions) {
    this.#options = options
    const { rates, maximum = asSet(rates), enforced, now, seed } = options
    this.#maximum = maximum
    this.#scopes = createScopes(rates, seed)
    this.#own = createLimits({ rates: ALL_OFF, enforced, now, seed })
    this.#health = new RedisHealth({ ...options, back: () => this.#outbox.flush() })
    this.#outbox = new Outbox({
      now,
      open: () => this.#health.up,
      sent: (answer) => void this.#health.counted('add', answer).catch(() => undefined),
    })
    this.#questions = new Questions({ ...options, health: this.#health, outbox: this.#outbox })
    const { connect, rcpt, recipients, unknown, asked } = this.#scopes
    const shared = (scope: Scope): Shared => this.#shared(scope)
    this.#stages = { connect: connect.map(shared), rcpt: rcpt.map(shared) }
    this.#recipients = this.#gathered(recipients)
    this.#unknown = this.#gathered(unknown)
    this.#asked = this.#gathered(asked, 'asked_recipients')
  }

  take(stage: 'connect' | 'rcpt', client: Client, part: Part = 'all'): Usage | Promise<Usage> {
    if (isTrusted(client)) return NO_USAGE
    const { now, enforced } = this.#options
    const at = now()
    const usage: MutableUsage = {}
    const charged: Charged[] = []
    const away = !this.#health.up
    for (const scope of this.#stages[stage]) {
      if (!isCharged(scope, part)) continue
      const { limit, rate, table } = scope
      const key = scope.key(client)
      const max = this.#maximum(limit, client, at)
      const own = away ? this.#health.share(max) : max
      const since = away ? 0 : scope.refusals.since(key, max, at)
      const used = since > 0 ? own + since : table.charge(key, at, own)
      usage[limit] = { used, max: own, windowMs: rate.windowMs }
      if (used <= own) charged.push({ scope, key, max, used })
      else if (enforced(limit)) {
        for (const narrow of charged) narrow.scope.table.refund(narrow.key, at)
        return usage
      }
    }
    if (charged.length === 0) return usage
    if (!away) return this.#questions.ask(charged, usage, at)
    for (const each of charged) if (each.scope.isGlobal) this.#questions.tell(each, usage)
    return usage
  }

  recipient(client: Client, message: Usage): Use | undefined {
    const { enforced, now } = this.#options
    if (this.#recipients === undefined || isTrusted(client) || isRefused(message, enforced)) return undefined
    return this.#recipients.charge(client, now())
  }

  giveBack(client: Client, usage: Usage, recipients: number): void {
    const { enforced, now } = this.#options
    // What was charged for a refused message was given back at once.
    if (isRefused(usage, enforced)) return
    const at = now()
    for (const { limit, key, table, account } of this.#stages.rcpt) {
      const use = usage[limit]
      if (use === undefined || use.used > use.max) continue
      table.refund(key(client), at)
      if (use.shared) this.#outbox.add(account, key(client), -1)
    }
    if (recipients > 0) this.#recipients?.giveBack(client, recipients, at)
  }

  spare(budget: Budget, client: Client): boolean {
    return this.#own.spare(budget, client)
  }

  heard(client: Client, recipient: string, isUnknown: boolean): void {
    const at = this.#options.now()
    if (!isFirst(this.#scopes, client, recipient, at)) return
    this.#asked?.count(client, at)
    if (isUnknown) this.#unknown?.count(client, at)
  }

  lately(client: Client): RecentRecipients | undefined {
    if (this.#unknown === undefined || this.#asked === undefined) return undefined
    const at = this.#options.now()
    return { unknown: this.#unknown.furthest(client, at), asked: this.#asked.furthest(client, at).used }
  }

  tracked(): number {
    return trackedBy(this.#scopes, this.#options.now())
  }

  utilization(limit: GlobalLimit): number {
    const scope = scopeOf(this.#scopes, limit)
    if (scope === undefined) return 0
    const { table, rate } = scope
    const at = this.#options.now()
    const told = this.#told.get(limit)
    const isCurrent = this.#health.up && told !== undefined && Math.abs(at - told.at) < rate.windowMs
    const cluster = isCurrent ? told.used / rate.max : 0
    return Math.max(cluster, table.peek(EVERYBODY, at) / (this.#health.up ? rate.max : this.#health.share(rate.max)))
  }

  start(): Promise<void> {
    return this.#health.start()
  }

  async stop(): Promise<void> {
    this.#outbox.stop()
    await this.#health.stop()
  }

  shared(): boolean {
    return this.#health.up
  }

  nodes(): number {
    return this.#health.nodes
  }

  condition(): RedisCondition {
    return this.#health.condition()
  }

  watched<T>(use: RedisUse, answer: Promise<T>): Promise<T> {
    return this.#health.watched(use, answer)
  }

  #shared(scope: Scope): Shared {
    const { link, prefix } = this.#options
    const { limit, isGlobal } = scope
    const { windowMs } = scope.rate
    const counter = createSharedCounter({ client: link.client, prefix, name: limit, windowMs })
    return {
      ...scope,
      account: { counter, windowMs, heard: (_, used) => this.#hear(scope, used) },
      refusals: new Refusals(isGlobal ? 1 : REFUSED),
    }
  }

  /** @param name part of the names of its keys in Redis */
  #gathered(scope: Scope | undefined, name: string | undefined = scope?.limit): Gathered | undefined {
    if (scope === undefined || name === undefined) return undefined
    const { link, prefix, now } = this.#options
    return new Gathered({
      scope,
      counter: createSharedCounter({ client: link.client, prefix, name, windowMs: scope.rate.windowMs }),
      outbox: this.#outbox,
      maximum: this.#maximum,
      share: (max) => (this.#health.up ? max : this.#health.share(max)),
      now,
    })
  }

  #hear({ limit, rate, isGlobal }: Scope, used: number): void {
    if (isGlobal) this.#told.set(limit, { used: Math.min(used, rate.max), at: this.#options.now() })
  }
}
