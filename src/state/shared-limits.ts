/**
 * Limits that all nodes share: counted in this node's memory and in Redis.
 *
 * Local first. What this node alone has seen go over a limit is over it in the cluster, so its own tables are charged
 * first, with the full limit, and a client that is over is refused without a question. The same holds for a client that Redis
 * has refused a moment ago: the answer says from when on there is room again, and until then it is not asked. So the cost of
 * refusing a client that keeps coming does not depend on Redis. All others cost one question, whose parts (one for each
 * scope, and what the outbox has to say) go out in one write together with the questions of all clients of that moment.
 *
 * All scopes are asked at once, so a wide limit may have been charged for a client that a narrow one refuses. The answers
 * are read narrow first, and what was charged for nothing is given back with the next write. Until then (a round trip) a wide
 * limit that is just full may refuse a client it had room for; never the other way round.
 *
 * Redis away or slow: an answer is waited for as long as `timeoutMs`, and while the breaker is open not at all; the node then
 * holds to its share, the limit divided by the nodes last seen alive. Since all nodes do, the cluster stays within the
 * limit: in one window at most the limit and the shares of the nodes that had not let anybody in by Redis's word, which is less
 * than twice. When Redis is back it hears what the limits for everybody, recipients and unknown recipients have counted in
 * the current window; what single addresses were let in for meanwhile stays with the node that counted it.
 *
 * Recipients and what the upstreams say of them are gathered (gathered.ts). Open connections are counted by each node alone.
 */
import { LRUCache } from 'lru-cache'
import type { Client } from '../core/client.ts'
import { ALL_OFF, asSet, type GlobalLimit, LIMITS, type LimitName, type Maximum } from '../core/limits.ts'
import type { Usage, Use } from '../core/usage.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { Late, within } from './deadline.ts'
import { Gathered } from './gathered.ts'
import { type Counted, createSharedCounter } from './limiter.ts'
import {
  type Budget,
  createLimits,
  isCharged,
  isRefused,
  type Limits,
  type LimitsOptions,
  type Part,
} from './limits.ts'
import { type Account, Outbox } from './outbox.ts'
import type { RedisLink } from './redis.ts'
import { type RedisCondition, RedisHealth } from './redis-health.ts'
import { createScopes, EVERYBODY, type Scope, type Scopes } from './scopes.ts'

export type { RedisCondition } from './redis-health.ts'

export interface SharedLimits extends Limits {
  /** Resolves when Redis has answered, or after a moment without: it goes on either way. */
  start(): Promise<void>
  /** Leaves the set of nodes. The link is closed by who opened it. */
  stop(): Promise<void>
  /** Whether limits are those of the cluster now, and not the share of this node. */
  shared(): boolean
  /** Nodes last seen alive, this one included. */
  nodes(): number
  /** Redis, as the operator is shown it. */
  condition(): RedisCondition
}

export interface SharedLimitsOptions extends LimitsOptions {
  readonly link: RedisLink
  /** Of all keys. */
  readonly prefix: string
  readonly timeoutMs: number
  /** The name of this node; no other has it. */
  readonly node: string
  readonly metrics: Metrics
  readonly log: Log
}

/** A limit with its counter in Redis. */
interface Shared extends Scope {
  readonly account: Account
  /** Keys that Redis has refused. */
  readonly refused: LRUCache<string, Refused>
}

interface Refused {
  /** The maximum it was held against: a client that may have more is none of those refused. */
  readonly max: number
  /** By this node's clock. */
  readonly until: number
  readonly waitMs: number
  /** Refusals since, that one included. */
  count: number
}

interface Charged {
  readonly scope: Shared
  readonly key: string
  /** What the client may have in the cluster. */
  readonly max: number
  /** By this node's own count. */
  readonly used: number
  /** What Redis says; the error where it says nothing of use; undefined where it was late. */
  answer?: Counted | Error
}

type Counts = { [L in LimitName]?: Use }

/** Keys whose refusal is remembered, for each limit; a key that is forgotten costs one question more. */
const REFUSED = 1 << 16
/** A limit that many share may get room by what others are given back, so it is asked again after so long. */
const ASK_AGAIN_MS = 1000
const NOTHING: Usage = {}

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
  /** Postmaster's budget and the like are each node's own. */
  readonly #own: Limits
  /** The last word of Redis on the limits for everybody. */
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
    const { connect, rcpt, recipients, unknown, asked } = this.#scopes
    const shared = (scope: Scope): Shared => this.#shared(scope)
    this.#stages = { connect: connect.map(shared), rcpt: rcpt.map(shared) }
    this.#recipients = this.#gathered('ip_recipients', recipients)
    this.#unknown = this.#gathered('unknown_recipients', unknown)
    this.#asked = this.#gathered('asked_recipients', asked)
  }

  take(stage: 'connect' | 'rcpt', client: Client, part: Part = 'all'): Usage | Promise<Usage> {
    if (client.standing === 'trusted') return NOTHING
    const { now, enforced } = this.#options
    const at = now()
    const usage: Counts = {}
    const charged: Charged[] = []
    const away = !this.#health.up
    for (const scope of this.#stages[stage]) {
      if (!isCharged(scope, part)) continue
      const { limit, rate, table } = scope
      const key = scope.key(client)
      const max = this.#maximum(limit, client, at)
      const own = away ? this.#health.share(max) : max
      const since = away ? 0 : refusedSince(scope, key, max, at)
      const used = since > 0 ? own + since : table.charge(key, at, own)
      usage[limit] = { used, max: own, windowMs: rate.windowMs }
      if (used <= own) charged.push({ scope, key, max, used })
      else if (enforced(limit)) {
        for (const narrow of charged) narrow.scope.table.refund(narrow.key, at)
        return usage
      }
    }
    if (charged.length === 0) return usage
    if (!away) return this.#ask(charged, usage, at)
    for (const { scope, key } of charged) if (scope.isGlobal) this.#outbox.add(scope.account, key, 1)
    return usage
  }

  recipient(client: Client, message: Usage): Use | undefined {
    const { enforced, now } = this.#options
    if (this.#recipients === undefined || client.standing === 'trusted' || isRefused(message, enforced))
      return undefined
    return this.#recipients.charge(client, now())
  }

  giveBack(client: Client, usage: Usage, recipients: number): void {
    const { enforced, now } = this.#options
    // What was refused was given back then.
    if (isRefused(usage, enforced)) return
    const at = now()
    for (const { limit, key, table, account } of this.#stages.rcpt) {
      const use = usage[limit]
      if (use === undefined || use.used > use.max) continue
      table.refund(key(client), at)
      this.#outbox.add(account, key(client), -1)
    }
    if (recipients > 0) this.#recipients?.giveBack(client, recipients, at)
  }

  spare(budget: Budget, client: Client): boolean {
    return this.#own.spare(budget, client)
  }

  heard(client: Client, isUnknown: boolean): void {
    const at = this.#options.now()
    this.#asked?.count(client, at)
    if (isUnknown) this.#unknown?.count(client, at)
  }

  lately(client: Client): ReturnType<Limits['lately']> {
    if (this.#unknown === undefined || this.#asked === undefined) return undefined
    const at = this.#options.now()
    return { unknown: this.#unknown.furthest(client, at), asked: this.#asked.furthest(client, at).used }
  }

  tracked(): number {
    return this.#scopes.connect[0]?.table.size(this.#options.now()) ?? 0
  }

  utilization(limit: GlobalLimit): number {
    const scope = [...this.#scopes.connect, ...this.#scopes.rcpt].find((each) => each.limit === limit)
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

  #shared(scope: Scope): Shared {
    const { link, prefix } = this.#options
    const { limit, isGlobal } = scope
    const { windowMs } = scope.rate
    const counter = createSharedCounter({ client: link.client, prefix, name: limit, windowMs })
    return {
      ...scope,
      account: { counter, windowMs, heard: (_, used) => this.#hear(scope, used) },
      refused: new LRUCache({ max: isGlobal ? 1 : REFUSED }),
    }
  }

  #gathered(name: string, scope: Scope | undefined): Gathered | undefined {
    if (scope === undefined) return undefined
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

  async #ask(charged: readonly Charged[], usage: Counts, at: number): Promise<Usage> {
    const { timeoutMs } = this.#options
    this.#outbox.flush()
    const started = performance.now()
    const answers = charged.map(async (one) => {
      one.answer = await one.scope.account.counter.charge(one.key, one.max).catch((error: Error) => error)
    })
    await within(Promise.all(answers), timeoutMs).catch(() => undefined)
    this.#health.took('take', started)
    for (const { answer } of charged) {
      this.#health.result('take', answer === undefined ? new Late() : answer instanceof Error ? answer : undefined)
    }
    const failed = charged.filter(({ answer }) => !isCounted(answer))
    const reason = failed[0]?.answer
    const late = `no answer within ${timeoutMs} ms`
    this.#health.asked(failed.length < charged.length ? undefined : reason instanceof Error ? reason.message : late)
    return this.#conclude(charged, usage, at)
  }

  /** Reads the answers narrow first; of all that was charged nothing is left where one limit refuses. */
  #conclude(charged: readonly Charged[], usage: Counts, at: number): Usage {
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
        if (answer instanceof Error && scope.isGlobal) this.#outbox.add(scope.account, key, 1)
        continue
      }
      if (this.#options.enforced(limit)) refusal = one
      table.refund(key, at)
    }
    if (refusal === undefined) return usage
    for (const { scope, key } of kept) scope.table.refund(key, at)
    for (const { scope, key, answer, max } of charged) {
      if (isCounted(answer) && answer.used <= max) this.#outbox.add(scope.account, key, -1)
    }
    return usage
  }

  /** Of what Redis has said, what holds for a while. */
  #remember({ scope, key, max, answer }: Charged): void {
    if (!isCounted(answer)) return
    this.#hear(scope, answer.used)
    if (answer.used <= max) return
    const isOfMany = LIMITS[scope.limit].per !== 'source'
    const waitMs = isOfMany ? Math.min(answer.waitMs, ASK_AGAIN_MS) : answer.waitMs
    scope.refused.set(key, { max, until: this.#options.now() + waitMs, waitMs, count: 1 })
  }

  /** By Redis where it has answered, else by this node's own count against its share. */
  #useOf({ scope: { rate }, max, answer, used }: Charged): Use {
    const { windowMs } = rate
    return isCounted(answer) ? { used: answer.used, max, windowMs } : { used, max: this.#health.share(max), windowMs }
  }
}

const isCounted = (answer: Charged['answer']): answer is Counted => answer !== undefined && !(answer instanceof Error)

/** How many times, this one included, a client came since Redis refused it; 0 where it may be let in again. */
function refusedSince({ refused }: Shared, key: string, max: number, at: number): number {
  const known = refused.get(key)
  if (known === undefined || max > known.max) return 0
  // A clock that has gone back makes no refusal longer.
  if (at < known.until && known.until - at <= known.waitMs) return ++known.count
  refused.delete(key)
  return 0
}
