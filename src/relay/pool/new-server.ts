/** Makes a server, and says how many connections all addresses of one may have. */
import type { Bounds } from '../../config/connections-kind.ts'
import type { Clock } from '../../core/clock.ts'
import { firstState } from '../../overload/adaptive-limit.ts'
import { StrangersPart } from '../../overload/strangers-part.ts'
import type { Log } from '../../telemetry/log.ts'
import { Breaker, FAULT } from './breaker.ts'
import { seriesOf } from './series.ts'
import { placeOf, Server, type ServerOptions } from './server.ts'
import { ServerLoad } from './server-load.ts'

interface Around {
  readonly metrics: Parameters<typeof seriesOf>[0]
  readonly clock: Clock
  readonly log: Log
  /** Of the connections to it, as they are set now. */
  readonly bounds: () => Bounds
  /** Whether the level of overload is above 0. */
  readonly isPressed: () => boolean
  /** All that there are. */
  readonly servers: () => readonly Server[]
}

export function newServer(
  where: Pick<ServerOptions, 'label' | 'host' | 'port' | 'name'>,
  { metrics, clock, log, bounds, isPressed, servers }: Around,
): Server {
  const { now, elapsed } = clock
  const changed = (isOpen: boolean): void => {
    if (isOpen) log.warn(placeOf(server), `upstream broken: ${FAULT}`)
    else log.info(placeOf(server), 'upstream accepts messages again')
  }
  const isAnotherWell = (): boolean => servers().some((each) => each !== server && each.up && !each.breaker.isOpen)
  const server: Server = new Server({
    ...where,
    series: seriesOf(metrics, where.label),
    now,
    load: new ServerLoad({ bounds, elapsed }),
    strangers: new StrangersPart({ connections: () => server.limit, isPressed, elapsed }),
    breaker: new Breaker({ ...clock, changed, isAnotherWell }),
  })
  return server
}

/** @param servers those of one label; none: its name has not been resolved yet */
export function limitOf(servers: readonly Pick<Server, 'limit'>[], bounds: Bounds): number {
  if (servers.length === 0) return firstState(bounds).limit
  return servers.reduce((sum, { limit }) => sum + limit, 0)
}
