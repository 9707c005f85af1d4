/** How busy the mail servers in use are, for the level of overload (overload/pressure.ts). */
import type { ServerSample } from '../../overload/pressure.ts'
import type { Wait } from './contention.ts'
import type { Holder } from './fairness.ts'
import type { Server } from './server.ts'

/**
 * How many connections the clients of each neighbourhood hold or wait for. A parked connection is not in use: others get it at once.
 * @param holders clients that have a connection, and where @param waiting clients that wait for one
 */
export function wantedIn(holders: ReadonlyMap<Holder, Server>, waiting: Iterable<Wait>): Iterable<number> {
  const wanted = new Map<string, number>()
  const add = ({ net }: Holder): unknown => wanted.set(net, (wanted.get(net) ?? 0) + 1)
  for (const [holder, { up }] of holders) if (up && holder.turn.state !== 'parked') add(holder)
  for (const { holder } of waiting) add(holder)
  return wanted.values()
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

/** Whether a server that accepts nothing may be asked once more. */
export const isProbeDue = (servers: readonly Server[]): boolean =>
  servers.some(({ up, breaker }) => up && breaker.isDue)

/** Whether there may be more connections to a server for those who wait, only because time passes. */
export const mayHaveMore = ({ breaker, strangers }: Server): boolean => breaker.isOpen || strangers.isCut
