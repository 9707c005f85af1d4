/** How long things may take, in milliseconds, and how many may wait: see SlotsOptions and HealthOptions. */
export interface Patience {
  readonly slotMs: number
  readonly waiting: number
  readonly idleMs: number
  /** How long a health check may take: a server that is slower to greet takes no mail. */
  readonly healthMs: number
  readonly guardMs: number
  readonly guardAgainMs: number
  /** The start for the first server to answer: the port is not kept closed for servers that hang. */
  readonly startMs: number
}

/** What is shipped. */
export const PATIENCE: Patience = {
  slotMs: 10_000,
  waiting: 1000,
  idleMs: 5000,
  healthMs: 30_000,
  guardMs: 3_600_000,
  guardAgainMs: 60_000,
  startMs: 2000,
}
