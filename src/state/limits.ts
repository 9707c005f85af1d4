/**
 * Charges the limits, once for each stage, before its checks run. Narrow limits are charged first. What a narrow limit
 * refuses is not charged to a wider one, so that one address over its limit cannot use up the budget of all. What a
 * wider limit refuses is given back to the narrow ones: the client is asked to retry, and the retry must not count
 * against it.
 *
 * Everything is kept in tables of fixed size and fixed cost: neither memory nor the time to refuse a client grows with
 * the number of addresses.
 */
import { type Client, isFriend, isRelay, isTrusted } from '../core/client.ts'
import {
  asSet,
  type GlobalLimit,
  LIMIT_NAMES,
  LIMITS,
  type LimitName,
  type Maximum,
  type Rate,
  type Rates,
  type UnknownLimit,
} from '../core/limits.ts'
import { type MutableUsage, NO_USAGE, type RecentRecipients, type Usage, type Use } from '../core/usage.ts'
import { heard, lately } from './harvest.ts'
import type { Scope } from './scope.ts'
import { type CounterOf, changeScopes, createScopes, EVERYBODY, type Scopes, scopeOf, trackedBy } from './scopes.ts'
import { WindowTable } from './table.ts'

/** How often each source may name the recipients postmaster and abuse outside the limits of the sender. */
export const ROLE_BUDGET: Rate = { max: 20, windowMs: 60_000 }
/**
 * How often each source may name a recently accepted user with a null sender, as others do to verify our users'
 * addresses.
 */
export const VERIFY_BUDGET: Rate = { max: 120, windowMs: 60_000 }
/**
 * How often all strangers together get past the level of overload by one of these budgets. Each bot has a budget of its own, so a flood
 * with null senders, or to postmaster, would come in whole: it was begun six times as fast as the cluster could take it. It is a node's:
 * its processes have it in equal parts.
 */
export const STRANGERS_BUDGET: Rate = { max: 120, windowMs: 60_000 }

export type Budget = 'role' | 'verify'
export type Part = 'all' | 'sender' | 'everybody'

/** Of one limit, for one client, at one moment. */
export interface Peeked extends Use {
  readonly limit: LimitName
  /** When all that was used so far counts no more, in ms since the epoch; part of it counts no more before. */
  readonly overAt: number
}

export interface Limits {
  /**
   * Charges for a connection ('connect') or for a message ('rcpt', with its first recipient). Trusted clients are not
   * charged; relays are charged only to what all clients share.
   * @param part 'everybody' charges only the limits that all clients share, 'sender' only the others
   */
  take(stage: 'connect' | 'rcpt', client: Client, part?: Part): Usage
  /**
   * Charges one more recipient. If its message was refused already, nothing is charged: the
   * client is asked to retry, and the retry must not count against it.
   * @param message what `take('rcpt')` returned for the message
   */
  recipient(client: Client, message: Usage): Use | undefined
  /**
   * Gives back what one message was charged, including its recipients: the message was deferred before any mail server
   * was asked, and the client's retry must not count twice.
   * @param usage what one call of `take('rcpt')` returned for it; the usage of a second call is given back separately
   * @param recipients how many recipients of it `recipient` admitted
   */
  giveBack(client: Client, usage: Usage, recipients: number): void
  /** Takes one from the client's budget. @returns whether the budget had room */
  spare(budget: Budget, client: Client): boolean
  /** Whether who is spared by this budget gets past the level of overload as well. A stranger takes one from what all strangers have. */
  sparesLevel(budget: Budget, client: Client): boolean
  /** Learns the cluster's answer to a recipient (harvest.ts). */
  heard(client: Client, recipient: string, isUnknown: boolean, isBounce?: boolean): void
  /** What `heard` has counted, by default of the client itself; undefined if the limit is off. */
  lately(client: Client, limit?: UnknownLimit): RecentRecipients | undefined
  /** What a client has used of each limit that it is charged to. Nothing is counted. */
  peek(client: Client): readonly Peeked[]
  /** The number of sources that have a count. */
  tracked(): number
  /** The share of a global limit, as the operator has set it, that is in use; 0 if it is off. */
  utilization(limit: GlobalLimit): number
  /**
   * Other limits are on, or their windows are others. Those that were on with the same window go on counting, the others begin at
   * zero. All or nothing, if it throws.
   */
  change(rates: Rates): void
}

export interface LimitsOptions {
  /** Which limits are on at the beginning, and their windows. `change` takes others. */
  readonly rates: Rates
  /** As they are set now. By default `rates`. */
  readonly ratesNow?: () => Rates
  /** By default the rate that the operator has set, for every client. */
  readonly maximum?: Maximum
  /**
   * False for a limit whose check only observes: a client over it goes on and is charged to the wider limits as well.
   */
  readonly enforced: (limit: LimitName) => boolean
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Eight secret random bytes, so that no outsider can aim at a place in the tables. */
  readonly seed: Uint8Array
  /** How many keys a table has room for, if that is fewer than by default: for many nodes in one process. */
  readonly most?: number
  /** How many processes of this node have limits of their own; 1 by default. */
  readonly processes?: number
  /** By default limits are counted in this node's memory alone. */
  readonly counterOf?: CounterOf
}

/** How many sources a budget is kept for. */
const BUDGET_KEYS = 1 << 16

/**
 * A relay is charged only to what all clients share. A known client is not counted with its neighbours: it must not use up what
 * they need, nor they what it needs.
 */
function isCharged({ limit, isGlobal }: Scope, part: Part, client: Client): boolean {
  if (part !== 'all' && isGlobal !== (part === 'everybody')) return false
  return isGlobal || !(isRelay(client) || (client.standing === 'known' && LIMITS[limit].per === 'net'))
}

/** Whether the client is over any limit that is enforced. */
function isRefused(usage: Usage, enforced: LimitsOptions['enforced']): boolean {
  for (const limit of LIMIT_NAMES) {
    const use = usage[limit]
    if (use !== undefined && use.used > use.max && enforced(limit)) return true
  }
  return false
}

export const createLimits = (options: LimitsOptions): Limits => new CountedLimits(options)

export class CountedLimits implements Limits {
  readonly #options: LimitsOptions
  readonly #maximum: Maximum
  readonly #ratesNow: () => Rates
  #scopes: Scopes
  readonly #budgets: Readonly<Record<Budget, { readonly rate: Rate; readonly table: WindowTable }>>
  readonly #strangers: Readonly<Record<Budget, WindowTable>>

  constructor(options: LimitsOptions) {
    this.#options = options
    const { rates, ratesNow = () => rates, maximum = asSet(ratesNow), seed, counterOf, most = BUDGET_KEYS } = options
    this.#ratesNow = ratesNow
    this.#maximum = maximum
    this.#scopes = createScopes(rates, seed, counterOf, undefined, options.most)
    const table = ({ windowMs }: Rate, capacity: number) => new WindowTable({ capacity, windowMs, seed })
    const budget = (rate: Rate) => ({ rate, table: table(rate, Math.min(most, BUDGET_KEYS)) })
    this.#budgets = { role: budget(ROLE_BUDGET), verify: budget(VERIFY_BUDGET) }
    this.#strangers = { role: table(STRANGERS_BUDGET, 1), verify: table(STRANGERS_BUDGET, 1) }
  }

  change(rates: Rates): void {
    const { seed, counterOf, most } = this.#options
    this.#scopes = changeScopes(this.#scopes, rates, seed, counterOf, most)
  }

  take(stage: 'connect' | 'rcpt', client: Client, part: Part = 'all'): Usage {
    if (isTrusted(client)) return NO_USAGE
    const { now, enforced } = this.#options
    const at = now()
    const usage: MutableUsage = {}
    const charged: Scope[] = []
    for (const scope of this.#scopes[stage]) {
      const { limit, counter, key } = scope
      if (!isCharged(scope, part, client)) continue
      const use = counter.charge(key(client), at, this.#maximum(limit, client, at))
      usage[limit] = use
      if (use.used <= use.max) charged.push(scope)
      else if (enforced(limit)) {
        for (const narrow of charged) narrow.counter.giveBack(narrow.key(client), at, 1)
        break
      }
    }
    return usage
  }

  recipient(client: Client, message: Usage): Use | undefined {
    const { recipients } = this.#scopes
    const { now, enforced } = this.#options
    if (recipients === undefined || isTrusted(client) || isRelay(client) || isRefused(message, enforced))
      return undefined
    const { limit, counter, key } = recipients
    const at = now()
    return counter.charge(key(client), at, this.#maximum(limit, client, at))
  }

  giveBack(client: Client, usage: Usage, recipients: number): void {
    const { now, enforced } = this.#options
    // What was charged for a refused message was given back at once.
    if (isRefused(usage, enforced)) return
    const at = now()
    for (const { limit, key, counter } of this.#scopes.rcpt) {
      const use = usage[limit]
      if (use !== undefined && use.used <= use.max) counter.giveBack(key(client), at, 1)
    }
    if (recipients > 0) this.#scopes.recipients?.counter.giveBack(this.#scopes.recipients.key(client), at, recipients)
  }

  spare(budget: Budget, client: Client): boolean {
    const { rate, table } = this.#budgets[budget]
    return table.charge(client.source, this.#options.now(), rate.max) <= rate.max
  }

  sparesLevel(budget: Budget, client: Client): boolean {
    const max = Math.max(1, Math.floor(STRANGERS_BUDGET.max / (this.#options.processes ?? 1)))
    return isFriend(client) || this.#strangers[budget].charge(EVERYBODY, this.#options.now(), max) <= max
  }

  heard(client: Client, recipient: string, isUnknown: boolean, isBounce = false): void {
    if (isRelay(client)) return
    heard(this.#scopes.harvest, client, { recipient, isUnknown, isBounce }, this.#maximum, this.#options.now())
  }

  lately(client: Client, limit: UnknownLimit = 'unknown_recipients'): RecentRecipients | undefined {
    return lately(this.#scopes.harvest, limit, client, this.#maximum, this.#options.now())
  }

  peek(client: Client): Peeked[] {
    if (isTrusted(client)) return []
    const { connect, rcpt, recipients, harvest } = this.#scopes
    const at = this.#options.now()
    const scopes = [
      ...connect,
      ...rcpt,
      ...(recipients === undefined ? [] : [recipients]),
      ...harvest.map(({ unknown }) => unknown),
    ]
    return scopes
      .filter((scope) => isCharged(scope, 'all', client))
      .map(({ limit, counter, key, windowMs }) => ({
        limit,
        ...counter.use(key(client), at, this.#maximum(limit, client, at)),
        // The present window of the table counts in part until the next one is over.
        overAt: (Math.floor(at / windowMs) + 2) * windowMs,
      }))
  }

  tracked(): number {
    return trackedBy(this.#scopes, this.#options.now())
  }

  utilization(limit: GlobalLimit): number {
    const scope = scopeOf(this.#scopes, limit)
    if (scope === undefined) return 0
    const set = this.#ratesNow()[limit]?.max ?? 0
    const { used, max } = scope.counter.use(EVERYBODY, this.#options.now(), set)
    return used / max
  }
}
