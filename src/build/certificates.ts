/** Builds the certificates for STARTTLS, if the settings name some. */
import type { PlainSettings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import { Certificates } from '../front/certificates.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface CertificatesParts {
  readonly settings: PlainSettings
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
}

/** Throws if a file cannot be used. Nothing is looked at again before `watch()`. */
export function buildCertificates({ settings, metrics, log, clock }: CertificatesParts): Certificates | undefined {
  const { tlsCert: certs, tlsKey: keys, tlsMinVersion: minVersion, hostname } = settings
  if (certs.length === 0) return undefined
  return new Certificates({ certs, keys, minVersion, hostname, metrics, log, now: clock.now })
}
