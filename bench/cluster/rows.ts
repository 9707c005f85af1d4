// What the parts of bench/cluster.ts have in common: a line of its table, how they start nodes, and who their clients are.

import type { Sources } from '../load.ts'
import type { Spillway } from '../processes.ts'

export type Row = readonly [what: string, figure: string, beside: string]

/** Starts a node that shares its limits with those of the same group, over Redis on its own port unless told. */
export type Start = (group: string, settings: Readonly<Record<string, string>>, redisPort?: number) => Promise<Spillway>

/** 4,096 addresses in 16 networks (/24). */
export const MANY: Sources = { first: '127.16.0.0', count: 16 * 256 }
/** 16 addresses. */
export const FEW: Sources = { first: '127.16.0.1', count: 16 }

/** SPILLWAY_REDIS_TIMEOUT, as it is by default. */
export const REDIS_TIMEOUT_MS = 50
