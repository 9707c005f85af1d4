/** What the pool of mail servers is made of (upstreams.ts). */
import type { Clock } from '../../core/clock.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { Patience } from './patience.ts'
import type { PoolSettings } from './pool-settings.ts'
import type { ResolutionOptions } from './resolution.ts'
import type { SlotsOptions } from './slots-options.ts'

/** The settings are those at the start; see `apply`. */
export interface UpstreamsOptions extends PoolSettings {
  readonly metrics: Pick<
    Metrics,
    | 'setUpstreams'
    | 'upstreamSlotWait'
    | 'admissionWait'
    | 'upstreamHealthChecks'
    | 'upstreamConnects'
    | 'upstreamReplies'
    | 'upstreamReplyDuration'
  >
  readonly log: Log
  readonly clock: Clock
  /** Overrides `PATIENCE`, for callers that cannot wait that long. */
  readonly patience?: Partial<Patience>
  /** See SlotsOptions; by default nothing is kept. */
  readonly reserve?: SlotsOptions['reserve']
  /** Whether the level of overload is above 0; by default it is not. */
  readonly isPressed?: () => boolean
  /** Finds all addresses of a name; by default as the system does. */
  readonly resolve?: ResolutionOptions['resolve']
}
