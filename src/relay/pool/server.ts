/** One mail server behind us, as everybody in here knows it: where it is, what it offers, how busy it is. */

import type { ConnectResult } from '../../telemetry/metrics.ts'
import { type Extensions, UpstreamRefusal } from '../smtp/dial.ts'
import { UpstreamError } from '../smtp/smtp-client.ts'
import type { UpstreamSeries } from './series.ts'

/** One address of one upstream. */
export interface Server {
  /** As the operator wrote it: the metric label. */
  readonly label: string
  /** For dialling; `name` as the operator wrote it. */
  readonly host: string
  readonly port: number
  readonly name: string
  up: boolean
  extensions: Extensions
  /** Connections open, being opened, or kept. */
  connections: number
  /** Shared by all servers with this label. */
  readonly series: UpstreamSeries
}

/** Where it is, for the log. */
export const placeOf = ({ label, host, port }: Server): { upstream: string; address: string } => ({
  upstream: label,
  address: `${host}:${port}`,
})

/** What came of connecting, as the metrics have it. */
export function connectResult(error: unknown): ConnectResult {
  if (error instanceof UpstreamRefusal) return 'refused'
  return error instanceof UpstreamError && error.fault === 'timeout' ? 'timeout' : 'failed'
}
