// What the parts of bench/cluster.ts share: a row of its table, how nodes are started, and the addresses of the
// clients.

import type { Sources } from '../load.ts'
import type { Spillway } from '../processes.ts'

export type Row = readonly [what: string, figure: string, beside: string]

/**
 * Starts a node that shares its limits with the nodes of the same group. `redisPort` defaults to that of Redis itself.
 */
export type Start = (group: string, settings: Readonly<Record<string, string>>, redisPort?: number) => Promise<Spillway>

/** 4,096 addresses in 16 networks (/24). */
export const MANY: Sources = { first: '127.16.0.0', count: 16 * 256 }
/** 16 addresses. */
export const FEW: Sources = { first: '127.16.0.1', count: 16 }

/** The default of SPILLWAY_REDIS_TIMEOUT. */
export const REDIS_TIMEOUT_MS = 50
