/** How long things may take, in milliseconds, and how many may wait: see SlotsOptions and HealthOptions. */
export interface Patience {
  readonly slotMs: number
  readonly waiting: number
  readonly idleMs: number
  /** How long a health check may take. A server that takes longer to greet is given no mail. */
  readonly healthMs: number
  readonly guardMs: number
  readonly guardAgainMs: number
  /** How long the start waits for the first server to answer: servers that hang do not keep the port closed. */
  readonly startMs: number
}

/** The defaults. */
export const PATIENCE: Patience = {
  slotMs: 10_000,
  waiting: 1000,
  idleMs: 5000,
  healthMs: 30_000,
  guardMs: 3_600_000,
  guardAgainMs: 60_000,
  startMs: 2000,
}
