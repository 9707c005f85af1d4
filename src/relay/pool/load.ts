/** How busy the mail servers in use are, for the level of overload (overload/pressure.ts). */
import type { ServerSample } from '../../overload/pressure.ts'
import type { Holder } from './fairness.ts'
import type { Server } from './server.ts'

/** @param holders clients that have a connection, and where. A parked connection is not in use: others get it at once */
export function takenIn(holders: ReadonlyMap<Holder, Server>): number {
  let taken = 0
  for (const [{ turn }, { up }] of holders) if (up && turn.state !== 'parked') taken++
  return taken
}

/** @param max the most connections to a server @param mayTakeMs how long the reply to a dot may take, in milliseconds */
export const serverSamples = (
  servers: readonly Server[],
  max: (server: Server) => number,
  now: number,
  mayTakeMs: number,
): ServerSample[] =>
  servers
    .filter(({ up }) => up)
    .map((server) => ({ upstream: server.label, slots: max(server), dotMs: server.dots.p95(now, mayTakeMs) }))
