/** What the pool of slots is made of (slots.ts). */
import type { Standing } from '../../core/client.ts'
import type { Clock } from '../../core/clock.ts'
import type { Distribution } from '../../telemetry/series.ts'
import type { Dialed } from '../smtp/dial.ts'
import type { Server } from './server.ts'

export interface SlotsOptions {
  readonly servers: () => readonly Server[]
  /** Whether a server may be among them in a moment. */
  readonly isAnyExpected: () => boolean
  /** The most connections to a server. */
  readonly max: (server: Server) => number
  /** The share of all slots that is kept for whoever is not a stranger, 0 to 1 (overload/reserve.ts). */
  readonly reserve: () => number
  /** Whether an open connection may serve one more client. */
  readonly isUsable: (dialed: Dialed) => boolean
  /** Called after a slot was given back. */
  readonly released: (server: Server) => void
  /** How long a transaction waits, in milliseconds: short compared with the client's 5 minutes for RCPT. */
  readonly waitMs: number
  /** How many may wait. Beyond that, waiting is hopeless and costs memory. */
  readonly waiting: number
  /** How long an idle connection waits for the next client, in milliseconds. */
  readonly idleMs: number
  readonly elapsed: Clock['elapsed']
  /** Seconds that every transaction waited. */
  readonly waited: Distribution
  /** Seconds that those in the queue waited, by standing, whether they were served or not. */
  readonly queued: Readonly<Record<Standing, Distribution>>
}
