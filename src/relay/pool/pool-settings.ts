/** What the pool obeys: one immutable value, which a reload swaps as a whole. */
import type { UpstreamAddress } from '../../config/address-kinds.ts'
import type { Bounds } from '../../config/connections-kind.ts'
import type { DialSettings } from '../smtp/dial.ts'

export interface PoolSettings {
  /** Each label once. */
  readonly addresses: readonly UpstreamAddress[]
  /** The most connections to each address: between these, and always the same where they are equal. */
  readonly connections: Bounds
  readonly healthIntervalMs: number
  /** How long a server may take to answer a health check, in milliseconds, before it counts as slow. */
  readonly healthTimeoutMs: number
  /** Whether servers are asked, before they are used, if they relay for strangers. */
  readonly relayGuard: boolean
  readonly dial: DialSettings
}
