/** The limits that are on, each with the table in this node's memory in which it is counted. */
import type { Client } from '../core/client.ts'
import {
  type Grouping,
  LIMITS,
  type LimitName,
  limitsThatCount,
  type Rate,
  type Rates,
  RECIPIENT_LIMIT,
  UNKNOWN_LIMIT,
} from '../core/limits.ts'
import { mailboxOf } from '../core/mailbox.ts'
import { WindowTable } from './table.ts'

export interface Scope {
  readonly limit: LimitName
  /** As the operator has set it. A client's maximum is asked for at each charge (Maximum in core/limits.ts). */
  readonly rate: Rate
  readonly table: WindowTable
  readonly key: (client: Client) => string
  /** Whether all clients share its one key. */
  readonly isGlobal: boolean
}

/** How many pairs of source and mailbox are remembered. If there are more in one window, some count twice. */
const MAILBOXES = 1 << 18
/** The key of the limits that all clients share. */
export const EVERYBODY = '*'
const KEYS: Readonly<Record<Grouping, Scope['key']>> = {
  source: (client) => client.source,
  net: (client) => client.net,
  everybody: () => EVERYBODY,
}

/** A limit that is undefined or not in its list is off. */
export interface Scopes {
  /** Narrow before wide. */
  readonly connect: readonly Scope[]
  readonly rcpt: readonly Scope[]
  readonly recipients: Scope | undefined
  /** Recipients that the cluster does not know, and all that it was asked about. */
  readonly unknown: Scope | undefined
  readonly asked: Scope | undefined
  /** The mailboxes that a source has named in this window: each counts once. */
  readonly mailboxes: WindowTable | undefined
}

/** The scope of a limit on connections or messages; undefined where it is off. */
export const scopeOf = ({ connect, rcpt }: Scopes, limit: LimitName): Scope | undefined =>
  [...connect, ...rcpt].find((each) => each.limit === limit)

/** The number of sources that the narrowest limit on connections has a count for. */
export const trackedBy = ({ connect }: Scopes, at: number): number => connect[0]?.table.size(at) ?? 0

/** Whether the source names the mailbox for the first time in this window. */
export const isFirst = ({ mailboxes }: Scopes, { source }: Client, recipient: string, at: number): boolean =>
  mailboxes?.first(`${source} ${mailboxOf(recipient)}`, at) === true

/** @param seed eight secret random bytes for the tables */
export function createScopes(rates: Rates, seed: Uint8Array): Scopes {
  const scope = (limit: LimitName): Scope | undefined => {
    const rate = rates[limit]
    if (rate === undefined) return undefined
    const { per, capacity } = LIMITS[limit]
    const table = new WindowTable({ capacity, windowMs: rate.windowMs, seed })
    return { limit, rate, table, key: KEYS[per], isGlobal: per === 'everybody' }
  }
  const unknown = scope(UNKNOWN_LIMIT)
  const scopes = (limits: readonly LimitName[]): Scope[] => limits.map(scope).filter((each) => each !== undefined)
  return {
    connect: scopes(limitsThatCount('connections')),
    rcpt: scopes(limitsThatCount('messages')),
    recipients: scope(RECIPIENT_LIMIT),
    unknown,
    asked: scope(UNKNOWN_LIMIT),
    mailboxes: unknown && new WindowTable({ capacity: MAILBOXES, windowMs: unknown.rate.windowMs, seed }),
  }
}
