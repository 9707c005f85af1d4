/**
 * Limits that all nodes share, through Redis. No client ever waits for Redis: each node decides at once, by what it has let in
 * itself and what Redis last said of all nodes, and tells Redis in the background. The rule is in ledger.ts, what one node knows
 * about one key in account.ts, how Redis is told in teller.ts, and what Redis does with it in limiter.ts.
 *
 * Each node counts open connections alone, and budgets such as postmaster's.
 */
import { UNKNOWN_LIMITS } from '../core/limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import type { Differences } from './agreement.ts'
import type { Counter } from './counter.ts'
import { ASKED } from './harvest.ts'
import { Ledger } from './ledger.ts'
import { createSharedCounter } from './limiter.ts'
import { CountedLimits, type LimitsOptions } from './limits.ts'
import type { RedisLink } from './redis.ts'
import { type RedisCondition, RedisHealth } from './redis-health.ts'
import type { Counted } from './scopes.ts'
import { Teller } from './teller.ts'

export interface SharedLimitsOptions extends Omit<LimitsOptions, 'counterOf'> {
  readonly link: RedisLink
  /** The prefix of all keys. */
  readonly prefix: string
  /** How long Redis may take for an answer before what it was told counts as lost, in milliseconds. */
  readonly timeoutMs: number
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** The name of this node, which no other node has. */
  readonly node: string
  /** How many nodes there are at least, until Redis has said; 1 by default. */
  readonly expected?: number
  /** Of all settings, as they are now; absent: it is not told to other nodes. */
  readonly hashNow?: (() => string) | undefined
  readonly metrics: Metrics
  readonly log: Log
}

/** The connection of this node's limits with those of the others. */
interface Sharing {
  readonly health: RedisHealth
  readonly teller: Teller
  readonly counterOf: (counted: Counted) => Counter
}

function shareThrough(options: SharedLimitsOptions): Sharing {
  const { link, prefix } = options
  // What distinguishes this node: keys hold it, and should be small.
  const node = options.node.slice(options.node.lastIndexOf(':') + 1)
  const health: RedisHealth = new RedisHealth({
    ...options,
    isBehind: () => teller.hasFailed,
    back: () => teller.flush(),
  })
  const teller = new Teller({
    ...options,
    isOpen: () => link.connected(),
    isUp: () => health.up,
    outcome: (started, failure) => health.outcome('add', started, failure),
    told: (failure) => health.told(failure),
  })
  const ledgers = new Map<string, Ledger>()
  const counterOf = (counted: Counted): Counter => {
    const { name, windowMs } = counted
    const limit = UNKNOWN_LIMITS.find((each) => ASKED[each] === name)
    const ledger = new Ledger({
      ...counted,
      counter: createSharedCounter({ client: link.client, prefix, name, windowMs, node }),
      // How many recipients a client has asked for matters if it asks for unknown ones.
      ...(limit !== undefined && { isTold: (key) => ledgers.get(limit)?.has(key) === true }),
      teller,
      nodes: () => health.nodes,
      isUp: () => health.up,
      elapsed: options.elapsed,
    })
    ledgers.set(name, ledger)
    return ledger
  }
  return { health, teller, counterOf }
}

export const createSharedLimits = (options: SharedLimitsOptions): SharedLimits =>
  new SharedLimits(options, shareThrough(options))

export class SharedLimits extends CountedLimits {
  readonly #sharing: Sharing

  constructor(options: SharedLimitsOptions, sharing: Sharing) {
    super({ ...options, counterOf: sharing.counterOf })
    this.#sharing = sharing
  }

  /** Resolves when Redis has answered, or after a moment without an answer. The limits work either way. */
  start(): Promise<void> {
    return this.#sharing.health.start()
  }

  /** Tells Redis what it has not heard yet, and leaves the set of nodes. The caller opened the link and closes it. */
  async stop(): Promise<void> {
    await this.#sharing.teller.stop()
    await this.#sharing.health.stop()
  }

  /** Whether the limits of the whole cluster are enforced at the moment, and not this node's share of them. */
  shared(): boolean {
    return this.#sharing.health.up
  }

  /** Whether Redis has heard of everything that it needs to hear of. */
  isTold(): boolean {
    return this.#sharing.teller.isIdle
  }

  /** The number of live nodes, including this one. */
  nodes(): number {
    return this.#sharing.health.nodes
  }

  /** What other nodes have set differently. */
  differences(): Differences {
    return this.#sharing.health.differences()
  }

  /** The condition of Redis for the operator. */
  condition(): RedisCondition {
    return this.#sharing.health.condition()
  }

  /** Counts a command that another part of the program sends to the same Redis. */
  watched<T>(use: RedisUse, answer: Promise<T>): Promise<T> {
    return this.#sharing.health.watched(use, answer)
  }
}
