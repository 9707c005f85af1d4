/** The pool with the values it ships with, by the clock of the test, and servers that are up. */
import { STANDINGS, type Standing } from '../../../src/core/client.ts'
import { recordOf } from '../../../src/core/record.ts'
import { StrangersPart } from '../../../src/overload/strangers-part.ts'
import { Breaker } from '../../../src/relay/pool/breaker.ts'
import { seriesOf } from '../../../src/relay/pool/series.ts'
import { Server } from '../../../src/relay/pool/server.ts'
import { ServerLoad } from '../../../src/relay/pool/server-load.ts'
import { Slots } from '../../../src/relay/pool/slots.ts'
import type { SlotsOptions } from '../../../src/relay/pool/slots-options.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'

const metrics = createMetrics({ version: 'test', upstreams: ['mail'] })
/** How many have waited so far, and for how long together, in seconds. */
export const waits = (standing: Standing): { count: number; sum: number } => {
  const { count, sum } = metrics.admissionWait.of(standing)
  return { count, sum }
}
export const elapsed = (): number => performance.now()

/** @param servers all that there are; without others a breaker is never in force */
export function serverAt(
  host: string,
  servers: () => readonly Server[] = () => [],
  { now = Date.now, bounds = { floor: 1, ceiling: 1 } } = {},
): Server {
  const isAnotherWell = (): boolean => servers().some((each) => each !== server && each.up && !each.breaker.isOpen)
  const server: Server = new Server({
    label: 'mail',
    host,
    port: 25,
    name: host,
    series: seriesOf(metrics, 'mail'),
    now: () => now(),
    breaker: new Breaker({ now: () => Date.now(), elapsed, changed: () => undefined, isAnotherWell }),
    load: new ServerLoad({ bounds: () => bounds, elapsed }),
    strangers: new StrangersPart({ connections: () => 50, isPressed: () => false, elapsed }),
  })
  server.become('up', undefined)
  return server
}

export const slotsOf = (options: Pick<SlotsOptions, 'servers' | 'max' | 'reserve' | 'waiting'>): Slots =>
  new Slots({
    ...options,
    isAnyExpected: () => false,
    isUsable: () => true,
    released: () => undefined,
    waitMs: 10_000,
    idleMs: 5000,
    elapsed,
    waited: metrics.upstreamSlotWait.of(),
    queued: recordOf(STANDINGS, (standing) => metrics.admissionWait.of(standing)),
  })
