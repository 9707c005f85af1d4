/** What is told of the servers: one report for each address, and for each name that has none. */
import type { UpstreamAddress } from '../../config/address-kinds.ts'
import { type Condition, placeOf, type Server } from './server.ts'

/** One address of a mail server, as it is now. `address`: `host:port`. */
export interface Report {
  readonly upstream: string
  readonly address: string
  readonly connections: number
  /** The most connections that there may be to it now; 0 while its address is not known. */
  readonly limit: number
  readonly condition: Condition
}

export const reportOf = (server: Server): Report => ({
  ...placeOf(server),
  connections: server.connections,
  limit: server.limit,
  condition: server.condition,
})

/** @param servers those with this label @param failure what is wrong with its name @param since when it was first looked for */
export function reportsOf(
  { label, host, port }: UpstreamAddress,
  servers: readonly Server[],
  failure: Condition | undefined,
  since: number,
): readonly Report[] {
  if (servers.length > 0) return servers.map(reportOf)
  const condition = failure ?? { state: 'unknown', since, error: undefined, lastSuccess: undefined }
  return [{ upstream: label, address: `${host}:${port}`, connections: 0, limit: 0, condition }]
}
