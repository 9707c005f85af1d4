/** Makes a server, and says how many connections all addresses of one may have. */
import type { Bounds } from '../../config/connections-kind.ts'
import type { Clock } from '../../core/clock.ts'
import { firstState } from '../../overload/adaptive-limit.ts'
import { seriesOf } from './series.ts'
import { Server, type ServerOptions } from './server.ts'
import { ServerLoad } from './server-load.ts'

interface Around {
  readonly metrics: Parameters<typeof seriesOf>[0]
  readonly clock: Clock
  /** Of the connections to it, as they are set now. */
  readonly bounds: () => Bounds
}

export function newServer(
  where: Pick<ServerOptions, 'label' | 'host' | 'port' | 'name'>,
  { metrics, clock: { now, elapsed }, bounds }: Around,
): Server {
  return new Server({
    ...where,
    series: seriesOf(metrics, where.label),
    now,
    load: new ServerLoad({ bounds, elapsed }),
  })
}

/** @param servers those of one label; none: its name has not been resolved yet */
export function limitOf(servers: readonly Pick<Server, 'load'>[], bounds: Bounds): number {
  if (servers.length === 0) return firstState(bounds).limit
  return servers.reduce((sum, { load }) => sum + load.max, 0)
}
