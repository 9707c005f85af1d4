/**
 * What the operator says at run time to one node. It holds until it is taken back, until its time is over, or until the program ends:
 * nothing of it is kept over a restart, and no other node hears of it.
 */
import type { OverloadMode } from './overload.ts'

/** One immutable value. All times are in milliseconds since the epoch. */
export interface Orders {
  /** Since when /readyz sends balancers away; undefined: it does not. */
  readonly drainedSince: number | undefined
  /** Mail servers that get no new mail, as UPSTREAMS has them, each once. */
  readonly drained: readonly string[]
  readonly pin: LevelPin | undefined
}

/** The level of overload goes by this, whatever SPILLWAY_OVERLOAD says. */
export interface LevelPin {
  readonly mode: OverloadMode
  /** It is over at this moment. */
  readonly until: number
}

export const NO_ORDERS: Orders = { drainedSince: undefined, drained: [], pin: undefined }

const MINUTE_MS = 60_000
export const DEFAULT_PIN_MS = 30 * MINUTE_MS
export const SHORTEST_PIN_MS = 1000
/** What is to hold for longer belongs into SPILLWAY_OVERLOAD, where the next operator finds it. */
export const LONGEST_PIN_MS = 7 * 24 * 60 * MINUTE_MS
