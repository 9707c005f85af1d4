/** Builds the certificates for STARTTLS, if the settings name some. */
import type { Settings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import { Certificates } from '../front/certificates.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface CertificatesParts {
  readonly settings: Settings
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** The key of TLS session tickets, for processes that share one; a file in the settings comes first. */
  readonly ticketKey?: Buffer | undefined
}

/** Throws if a file cannot be used. Nothing is looked at again before `watch()`. */
export function buildCertificates(parts: CertificatesParts): Certificates | undefined {
  const { settings, metrics, log, clock, ticketKey } = parts
  const { tlsCert: certs, tlsKey: keys, tlsMinVersion: minVersion, tlsTicketKey: ticketKeyFile, hostname } = settings
  if (certs.length === 0) return undefined
  const tickets = { ticketKeyFile, ticketKey }
  return new Certificates({ certs, keys, minVersion, ...tickets, hostname, metrics, log, now: clock.now })
}
