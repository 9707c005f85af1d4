/** One limit that is on, and the counter by which it is counted. */
import type { Client } from '../core/client.ts'
import type { LimitName, Rate } from '../core/limits.ts'
import type { Counter } from './counter.ts'

export interface Scope {
  readonly limit: LimitName
  /** A client's maximum is asked for at each charge (Maximum in core/limits.ts). */
  readonly windowMs: Rate['windowMs']
  readonly counter: Counter
  readonly key: (client: Client) => string
  /** Whether all clients share its one key. */
  readonly isGlobal: boolean
}
