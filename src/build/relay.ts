/**
 * Builds the side that faces the cluster: the mail servers with their health, and what a client's transaction needs of them. What
 * it obeys is compiled from the settings into immutable values, which a reload swaps.
 */
import { createSecureContext } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import { loopIn } from '../config/machine-rules.ts'
import type { Reading } from '../config/reload.ts'
import type { Clock } from '../core/clock.ts'
import { Current } from '../core/current.ts'
import { messageOf } from '../core/errors.ts'
import type { NameOf } from '../dns/names.ts'
import type { Overload } from '../overload/overload.ts'
import type { PoolSettings } from '../relay/pool/pool-settings.ts'
import { Upstreams } from '../relay/pool/upstreams.ts'
import type { RelayParts, RelaySettings } from '../relay/transaction/relay.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

type Read = Pick<Reading, 'settings' | 'authorities'>

export interface RelayOptions {
  readonly reading: Read
  /** What is kept for whoever is not a stranger, and the level, at present. */
  readonly overload: () => Pick<Overload, 'reserve' | 'enforced'>
  /** The name of a client. */
  readonly nameOf: NameOf
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
}

export interface BuiltRelay extends RelayParts {
  readonly settings: Current<RelaySettings>
  /** Puts other settings in force. @throws Error if they cannot be used; those before are then still in force */
  apply(next: Read): void
}

/** Makes a value anew only if it is made from something else than the last one. */
function remembering<From, To>(make: (from: From) => To): (from: From) => To {
  let last: { readonly from: From; readonly made: To } | undefined
  return (from) => {
    if (last === undefined || !isDeepStrictEqual(last.from, from)) last = { from, made: make(from) }
    return last.made
  }
}

interface Compiled {
  readonly pool: PoolSettings
  readonly relay: RelaySettings
}

/** Connections stay good as long as what they depend on stays the same. */
export function createCompiler({ elapsed }: Pick<Clock, 'elapsed'>, nameOf: NameOf): (reading: Read) => Compiled {
  const trusted = remembering((pems: readonly string[] | undefined) => pems && createSecureContext({ ca: [...pems] }))
  return ({ settings, authorities }) => {
    const dial = {
      clientIp: settings.upstreamClientIp,
      tls: settings.upstreamTls,
      trusted: settings.upstreamTls === 'required' ? trusted(authorities) : undefined,
      hostname: settings.hostname,
      connectTimeoutMs: settings.upstreamConnectTimeout,
      replyTimeoutMs: settings.upstreamReplyTimeout,
      names: nameOf,
      elapsed,
    }
    return {
      pool: {
        addresses: settings.upstreams,
        connections: settings.upstreamMaxConnections,
        healthIntervalMs: settings.upstreamHealthInterval,
        healthTimeoutMs: settings.upstreamHealthTimeout,
        relayGuard: settings.relayGuard,
        dial,
      },
      relay: {
        dial,
        dataTimeoutMs: settings.upstreamDataTimeout,
        bareNewline: settings.bareNewline,
        trace: settings.traceHeader,
        hostname: settings.hostname,
      },
    }
  }
}

/** Nothing is sent to the mail servers before `upstreams.start()`. */
export function buildRelay({ reading, overload, nameOf, metrics, log, clock }: RelayOptions): BuiltRelay {
  const compile = createCompiler(clock, nameOf)
  const { pool, relay } = compile(reading)
  const reserve = (): number => overload().reserve
  const isPressed = (): boolean => overload().enforced > 0
  const upstreams = new Upstreams({ ...pool, reserve, isPressed, metrics, log, clock })
  const settings = new Current(relay)
  const apply: BuiltRelay['apply'] = (next) => {
    const loop = loopIn(next.settings)
    // Each is right by itself, and only together with the SPILLWAY_LISTEN that takes a restart to change they are not.
    if (loop !== undefined)
      throw new Error(`SPILLWAY_UPSTREAMS: ${loop} is Spillway itself until a restart changes SPILLWAY_LISTEN, a loop`)
    const compiled = compiledOf(next)
    settings.swap(compiled.relay)
    upstreams.apply(compiled.pool)
  }
  const compiledOf = (next: Read): Compiled => {
    try {
      return compile(next)
    } catch (error) {
      throw new Error(`SPILLWAY_UPSTREAM_TLS_CA: OpenSSL says: ${messageOf(error)}`)
    }
  }
  return { upstreams, settings, metrics, log, clock, apply }
}
