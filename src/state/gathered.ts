/**
 * A count that never waits for Redis. It is kept at once in this node's memory, the outbox reports it to Redis a moment
 * later, and it is compared with what Redis last reported for the whole cluster. It counts recipients and the
 * mail servers' answers to them.
 */
import type { Client } from '../core/client.ts'
import type { Maximum } from '../core/limits.ts'
import type { Use } from '../core/usage.ts'
import { ClusterCounts } from './cluster-counts.ts'
import type { SharedCounter } from './limiter.ts'
import type { Account, Outbox } from './outbox.ts'
import type { Scope } from './scopes.ts'

export interface GatheredOptions {
  readonly scope: Scope
  readonly counter: SharedCounter
  readonly outbox: Outbox
  readonly maximum: Maximum
  /** The part of a maximum that this node may let in at the moment. */
  readonly share: (max: number) => number
  readonly now: () => number
}

export class Gathered {
  readonly #options: GatheredOptions
  readonly #cluster: ClusterCounts
  readonly #account: Account

  constructor(options: GatheredOptions) {
    this.#options = options
    const { scope, counter, now } = options
    const { windowMs } = scope.rate
    this.#cluster = new ClusterCounts(windowMs)
    this.#account = { counter, windowMs, heard: (key, used) => this.#cluster.heard(key, used, now()) }
  }

  /** Charges one if that is within the client's maximum. */
  charge(client: Client, at: number): Use {
    const { scope, outbox, maximum, share } = this.#options
    const { table, limit } = scope
    const { windowMs } = scope.rate
    const key = scope.key(client)
    const max = maximum(limit, client, at)
    // The cluster's count is compared with the whole limit even while this node has only a share of it.
    const known = this.#cluster.used(key, at)
    if (known >= max) {
      // A maximum of 0 makes the table count the attempt as refused.
      const refused = table.charge(key, at, 0) - table.peek(key, at)
      return { used: known + refused, max, windowMs }
    }
    const own = share(max)
    const used = table.charge(key, at, own)
    if (used > own) return { used, max: own, windowMs }
    this.#cluster.add(key, 1)
    outbox.add(this.#account, key, 1)
    return { used: Math.min(own, Math.max(used, known + 1)), max: own, windowMs }
  }

  /** Counts one, without comparing it with a maximum. */
  count(client: Client, at: number): void {
    const { scope, outbox } = this.#options
    const key = scope.key(client)
    scope.table.charge(key, at, Number.MAX_SAFE_INTEGER)
    this.#cluster.add(key, 1)
    outbox.add(this.#account, key, 1)
  }

  /** Gives back what `charge` has let in. */
  giveBack(client: Client, amount: number, at: number): void {
    const { scope, outbox } = this.#options
    const key = scope.key(client)
    scope.table.refund(key, at, amount)
    this.#cluster.add(key, -amount)
    outbox.add(this.#account, key, -amount)
  }

  /**
   * This node's count against its share, or the cluster's against the whole limit: whichever is closer to its maximum.
   */
  furthest(client: Client, at: number): Use {
    const { scope, maximum, share } = this.#options
    const { limit, table } = scope
    const { windowMs } = scope.rate
    const key = scope.key(client)
    const whole = maximum(limit, client, at)
    const max = share(whole)
    const [own, known] = [table.peek(key, at), this.#cluster.used(key, at)]
    return own * whole >= known * max ? { used: own, max, windowMs } : { used: known, max: whole, windowMs }
  }
}
