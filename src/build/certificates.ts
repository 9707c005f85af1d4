/** Builds the certificates for STARTTLS, if the settings name some; and others, if a reload names others. */
import type { PlainSettings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import { within } from '../core/deadline.ts'
import { Certificates, type CertificatesOptions } from '../front/certificates.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { BuiltPolicy } from './policy.ts'

export interface CertificatesParts {
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** The key of TLS session tickets that processes share at this moment; a file in the settings comes first. */
  readonly ticketKey: () => Buffer | undefined
}

/** Files on a mount that hangs would be waited for without end, and every later reload behind them. */
const LONGEST_MS = 60_000
const late = (): never => {
  throw new Error(`the certificates were not read within ${LONGEST_MS / 1000} s: are they on a mount that hangs?`)
}

/** @returns undefined if the settings name none */
function optionsOf(
  settings: PlainSettings,
  { metrics, log, clock, ticketKey }: CertificatesParts,
): CertificatesOptions | undefined {
  const { tlsCert: certs, tlsKey: keys, tlsMinVersion: minVersion, tlsTicketKey: ticketKeyFile, hostname } = settings
  if (certs.length === 0) return undefined
  const tickets = { ticketKeyFile, ticketKey: ticketKey() }
  return { certs, keys, minVersion, ...tickets, hostname, metrics, log, now: clock.now }
}

/** Throws if a file cannot be used. Nothing is looked at again before `watch()`. */
export function buildCertificates(settings: PlainSettings, parts: CertificatesParts): Certificates | undefined {
  const options = optionsOf(settings, parts)
  return options && new Certificates(options)
}

/**
 * Those of the next settings: the same object, unless something about them has changed. Rejects if a file cannot be used; those in
 * force are then as they were.
 */
export async function nextCertificates(
  { settings: before, certificates }: BuiltPolicy,
  next: PlainSettings,
  parts: CertificatesParts,
): Promise<Certificates | undefined> {
  const named = ({ tlsCert, tlsKey, tlsMinVersion, tlsTicketKey }: PlainSettings): string =>
    JSON.stringify([tlsCert, tlsKey, tlsMinVersion, tlsTicketKey])
  if (named(before) === named(next)) return certificates
  const options = optionsOf(next, parts)
  return options && within(Certificates.read(options), LONGEST_MS, late)
}

/** The later ones are in force from now on, and follow their files. Sessions under way keep the earlier ones as they are. */
export function replaceCertificates(
  before: Certificates | undefined,
  after: Certificates | undefined,
  { metrics }: CertificatesParts,
): void {
  if (before === after) return
  before?.stop()
  metrics.certificateExpiry.replace([])
  metrics.certificatesStale.of().value = 0
  after?.publish()
  after?.watch()
}

/** Reads the files of those in force again. Never rejects; what comes later than it may is not waited for. */
export const rereadCertificates = (certificates: Certificates | undefined): Promise<void> =>
  within(certificates?.reread() ?? Promise.resolve(), LONGEST_MS, () => undefined)
