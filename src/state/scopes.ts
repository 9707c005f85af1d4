/**
 * What each limit counts by, narrow before wide, and the table in this node's memory where it is counted.
 */
import type { Client } from '../core/client.ts'
import type { LimitName, Rate } from '../core/usage.ts'
import { WindowTable } from './table.ts'

/** Keys a table has room for: the addresses of a busy minute many times over. */
const SOURCES = 1 << 20
const NETS = 1 << 17

export interface Scope {
  readonly limit: LimitName
  readonly rate: Rate
  readonly table: WindowTable
  readonly key: (client: Client) => string
}

/** The key of what all clients share. */
export const EVERYBODY = '*'
export const source = (client: Client): string => client.source
export const net = (client: Client): string => client.net
export const everybody = (): string => EVERYBODY

/** Undefined, or not in the list: that limit is off. */
export interface Scopes {
  readonly connect: readonly Scope[]
  readonly rcpt: readonly Scope[]
  readonly recipients: Scope | undefined
  /** Recipients the cluster does not know, and all it was asked about. */
  readonly unknown: Scope | undefined
  readonly asked: Scope | undefined
}

export function createScopes(rates: Readonly<Record<LimitName, Rate | undefined>>, seed: Uint8Array): Scopes {
  const scope = (limit: LimitName, capacity: number, key: Scope['key']): Scope | undefined => {
    const rate = rates[limit]
    return rate && { limit, rate, key, table: new WindowTable({ capacity, windowMs: rate.windowMs, seed }) }
  }
  const those = (...scopes: (Scope | undefined)[]): Scope[] => scopes.filter((each) => each !== undefined)
  return {
    connect: those(
      scope('ip_connections', SOURCES, source),
      scope('net_connections', NETS, net),
      scope('global_connections', 8, everybody),
    ),
    rcpt: those(scope('ip_messages', SOURCES / 4, source), scope('global_messages', 8, everybody)),
    recipients: scope('ip_recipients', SOURCES / 4, source),
    unknown: scope('unknown_recipients', SOURCES / 4, source),
    asked: scope('unknown_recipients', SOURCES / 4, source),
  }
}
