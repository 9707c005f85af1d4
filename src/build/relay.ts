/** Builds the side that faces the cluster: the mail servers with their health, and what a client's transaction needs of them. */
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContext } from 'node:tls'
import { AUTHORITIES_EXPECTED, readAuthorities } from '../config/authorities.ts'
import { reader } from '../config/entries.ts'
import type { PlainSettings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import { Upstreams } from '../relay/pool/upstreams.ts'
import type { DialSettings } from '../relay/smtp/dial.ts'
import { createNames } from '../relay/smtp/names.ts'
import type { RelayParts } from '../relay/transaction/relay.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface RelayOptions {
  readonly settings: PlainSettings
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
}

/** The CAs of the operator's file, parsed once for all connections. Throws if the file cannot be used. */
function trustedIn(path: string | undefined, clock: Clock): SecureContext | undefined {
  if (path === undefined) return undefined
  const found = readAuthorities(
    path,
    reader((file) => readFileSync(file, 'utf8')),
    clock.now(),
  )
  if ('hint' in found) throw new Error(`SPILLWAY_UPSTREAM_TLS_CA: ${AUTHORITIES_EXPECTED}; ${path}: ${found.hint}`)
  return createSecureContext({ ca: [...found.pems] })
}

/** Nothing is sent to the mail servers before `upstreams.start()`. */
export function buildRelay({ settings, metrics, log, clock }: RelayOptions): RelayParts {
  const { hostname } = settings
  const dial: DialSettings = {
    clientIp: settings.upstreamClientIp,
    tls: settings.upstreamTls,
    trusted: settings.upstreamTls === 'required' ? trustedIn(settings.upstreamTlsCa, clock) : undefined,
    hostname,
    connectTimeoutMs: settings.upstreamConnectTimeout,
    replyTimeoutMs: settings.upstreamReplyTimeout,
    names: createNames({ servers: settings.dnsServers }),
    elapsed: clock.elapsed,
  }
  const upstreams = new Upstreams({
    addresses: settings.upstreams,
    maxConnections: settings.upstreamMaxConnections,
    healthIntervalMs: settings.upstreamHealthInterval,
    healthTimeoutMs: settings.upstreamHealthTimeout,
    relayGuard: settings.relayGuard,
    dial,
    metrics,
    log,
    clock,
  })
  return {
    upstreams,
    settings: {
      dial,
      dataTimeoutMs: settings.upstreamDataTimeout,
      bareNewline: settings.bareNewline,
      trace: settings.traceHeader,
      hostname,
    },
    metrics,
    log,
    clock,
  }
}
