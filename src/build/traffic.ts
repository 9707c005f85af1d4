/** Builds what counts the traffic of the last hour. */
import { randomInt } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { Overload } from '../overload/overload.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { Traffic } from '../telemetry/traffic/traffic.ts'
import type { Week } from '../telemetry/traffic/week.ts'

export interface TrafficParts {
  readonly metrics: Metrics
  readonly clock: Clock
  readonly overload: () => Pick<Overload, 'level'>
  readonly week: Week
}

/** From this level on, what comes is no example of what is normal. */
const STRESSED = 2

export const buildTraffic = ({ metrics, clock, overload, week }: TrafficParts): Traffic =>
  new Traffic({
    ...{ metrics, clock, week },
    isOverloaded: () => overload().level >= STRESSED,
    secret: randomInt(2 ** 32),
  })
