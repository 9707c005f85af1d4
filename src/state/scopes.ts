/** The limits that are on, each with the counter by which it is counted. */
import { type Grouping, LIMITS, type LimitName, limitsThatCount, type Rates, RECIPIENT_LIMIT } from '../core/limits.ts'
import { type Counter, LocalCounter } from './counter.ts'
import { type Asked, type HarvestScope, harvestScopes } from './harvest.ts'
import type { Scope } from './scope.ts'
import { WindowTable } from './table.ts'

/** The key of the limits that all clients share. */
export const EVERYBODY = '*'
const KEYS: Readonly<Record<Grouping, Scope['key']>> = {
  source: ({ source, countedAs = source }) => countedAs,
  net: (client) => client.net,
  everybody: () => EVERYBODY,
}

/** A limit that is undefined or not in its list is off. */
export interface Scopes {
  /** Narrow before wide. */
  readonly connect: readonly Scope[]
  readonly rcpt: readonly Scope[]
  readonly recipients: Scope | undefined
  /** Recipients that the cluster does not know, narrow before wide. */
  readonly harvest: readonly HarvestScope[]
}

/** The scope of a limit; undefined where it is off. */
export const scopeOf = ({ connect, rcpt, recipients, harvest }: Scopes, limit: LimitName): Scope | undefined =>
  [...connect, ...rcpt, recipients, ...harvest.map(({ unknown }) => unknown)].find((each) => each?.limit === limit)

/** The number of sources that the narrowest limit on connections has a count for. */
export const trackedBy = ({ connect }: Scopes, at: number): number => connect[0]?.counter.size(at) ?? 0

/** What a counter is made for. */
export interface Counted {
  /** The limit, or what is counted beside it. */
  readonly name: LimitName | Asked
  readonly table: WindowTable
  readonly windowMs: number
  /** Whether all clients share its one key. */
  readonly isGlobal: boolean
}

export type CounterOf = (counted: Counted) => Counter

/** Counts in this node's memory alone. */
export const countLocally: CounterOf = ({ table, windowMs }) => new LocalCounter(table, windowMs)

/** Every counter there is. */
const countersIn = ({ connect, rcpt, recipients, harvest }: Scopes): Counter[] => {
  const both = harvest.flatMap(({ unknown, asked }) => [unknown, asked])
  return [...connect, ...rcpt, recipients, ...both].flatMap((scope) => scope?.counter ?? [])
}

/**
 * The scopes for other rates. A limit that was on, and has the same window, goes on counting; any other begins at zero, because
 * counts of one window say nothing about another.
 */
export function changeScopes(
  before: Scopes,
  rates: Rates,
  seed: Uint8Array,
  counterOf?: CounterOf,
  most?: number,
): Scopes {
  const after = createScopes(rates, seed, counterOf, before, most)
  const kept = new Set(countersIn(after))
  for (const counter of countersIn(before)) if (!kept.has(counter)) counter.end()
  return after
}

/**
 * @param seed eight secret random bytes for the tables
 * @param before whose counters are kept where they fit
 * @param most keys that a table has room for
 */
export function createScopes(
  rates: Rates,
  seed: Uint8Array,
  counterOf: CounterOf = countLocally,
  before?: Scopes,
  most = Number.POSITIVE_INFINITY,
): Scopes {
  const scope = (limit: LimitName, name: Counted['name'] = limit): Scope | undefined => {
    const rate = rates[limit]
    if (rate === undefined) return undefined
    const asked = before?.harvest.find(({ unknown }) => name !== limit && unknown.limit === limit)?.asked
    const known = name === limit ? before && scopeOf(before, limit) : asked
    if (known?.windowMs === rate.windowMs) return known
    const { per } = LIMITS[limit]
    const capacity = Math.min(most, LIMITS[limit].capacity)
    const { windowMs } = rate
    const isGlobal = per === 'everybody'
    const counter = counterOf({ name, table: new WindowTable({ capacity, windowMs, seed }), windowMs, isGlobal })
    return { limit, windowMs, counter, key: KEYS[per], isGlobal }
  }
  const scopes = (limits: readonly LimitName[]): Scope[] =>
    limits.map((limit) => scope(limit)).filter((each) => each !== undefined)
  return {
    connect: scopes(limitsThatCount('connections')),
    rcpt: scopes(limitsThatCount('messages')),
    recipients: scope(RECIPIENT_LIMIT),
    harvest: harvestScopes(scope, seed, before?.harvest, most),
  }
}
