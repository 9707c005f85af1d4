/**
 * Builds a whole node from the settings and connects its parts. Nothing listens, and nothing is asked of Redis or the mail
 * servers, before app.ts starts it.
 */
import { isIP } from 'node:net'
import { Admin } from '../admin/http.ts'
import type { Status } from '../admin/status.ts'
import { type Reading, type ReloadReport, type Reread, readingOf } from '../config/reload.ts'
import type { Settings } from '../config/settings.ts'
import { ticketKeyOf } from '../config/ticket-key.ts'
import { SYSTEM_CLOCK } from '../core/clock.ts'
import { Current } from '../core/current.ts'
import { nodeNumber } from '../core/id.ts'
import type { CheckName } from '../core/reasons.ts'
import type { Certificates } from '../front/certificates.ts'
import { type ConnectionParts, serve } from '../front/connection.ts'
import { Listener } from '../front/gate/listener.ts'
import { LiveSessions } from '../front/session/live-sessions.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import { Seats } from '../state/seats.ts'
import type { LevelledLog } from '../telemetry/log.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics.ts'
import { buildCertificates } from './certificates.ts'
import { buildFront } from './front.ts'
import { buildLimits, type Counting } from './limits.ts'
import { type BuiltPolicy, buildPolicy, inForce } from './policy.ts'
import { buildRelay } from './relay.ts'
import { Reloader } from './reload.ts'
import { gaugesOf, type StatusSources, statusOf } from './status.ts'

export interface NodeOptions {
  readonly settings: Settings
  readonly version: string
  readonly log: LevelledLog
  /** What `settings` was warned of, so that a reload does not tell it again. */
  readonly warnings?: readonly string[]
  /** Reads the settings again, without holding up the event loop; absent where there is nothing to read them from. */
  readonly reread?: () => Promise<Reread>
  /** The machine's own name. It distinguishes nodes that share one name and so have the same HOSTNAME. */
  readonly machine: string
  /** The key of TLS session tickets, 48 octets, for processes that share one. A file in the settings comes first. */
  readonly ticketKey?: Buffer
}

export interface Node {
  /** This node's number in the ids of its sessions. */
  readonly number: number
  readonly metrics: Metrics
  readonly counting: Counting
  readonly upstreams: Upstreams
  readonly front: ConnectionParts
  readonly certificates: Certificates | undefined
  readonly sessions: LiveSessions
  readonly listener: Listener
  readonly admin: Admin
  readonly status: () => Status
  /** Undefined if the settings cannot be read again. */
  readonly reload: ((by: string) => Promise<ReloadReport>) | undefined
  /** From now on the node is not ready. */
  drain(): void
  /** Resolves when every accepted connection has ended. */
  allServed(): Promise<void>
}

/** Throws if a certificate cannot be used. */
export function buildNode(options: NodeOptions): Node {
  const { settings, version, log, machine } = options
  const clock = SYSTEM_CLOCK
  const number = nodeNumber(`${machine} ${settings.listen.map(({ host, port }) => `${host}:${port}`).join()}`)
  const metrics = createMetrics({ version, upstreams: settings.upstreams.map(({ label }) => label) })
  const common = { settings, metrics, log, clock, now: clock.now }
  const judged = { mode: (check: CheckName) => policy.mode(check), ratesNow: () => policy.rates() }
  const counting = buildLimits({ ...common, ...judged, ticketSecret: ticketsFor(options, () => certificates) })
  const { limits, knownRecipients } = counting
  const relay = buildRelay(common)
  const { upstreams } = relay
  const offeredSize = (): number => Number(upstreams.offer?.get('SIZE') ?? 0)
  // The limits ask the policy and the policy asks the limits, but neither does so before there is a client.
  const policyOf = (from: Reading): BuiltPolicy => buildPolicy({ ...from, limits, offeredSize, metrics, log })
  const reading = readingOf({ settings, warnings: options.warnings ?? [] })
  const policyInForce = new Current(policyOf(reading))
  const policy: BuiltPolicy = inForce(policyInForce)
  const seats = new Seats()
  const sessions = new LiveSessions()
  const parts = { node: number, policy, limits, knownRecipients, relay, seats, live: sessions }
  const certificates = buildCertificates({ ...common, ticketKey: options.ticketKey })
  const apply = (next: Reading): void => {
    policyInForce.swap(policyOf(next))
    log.setLevel(next.settings.logLevel)
  }
  const reloader = new Reloader({ reading, apply, certificates, metrics, log, reread: options.reread })
  const reload = options.reread && ((by: string) => reloader.reload(by))
  const front = buildFront({ ...common, certificates, ...parts })
  const failed = (error: Error): void => log.error({ err: error.message }, 'a listening socket failed')
  const { listener, allServed } = listening(front, failed)
  let draining = false
  const ready = (): boolean => listener.listening && !draining
  const uptimeMs = since(clock.elapsed)
  const own = { version, node: settings.hostname, ready, uptimeMs }
  const sources: StatusSources = { ...own, seats, counting, knownRecipients, upstreams, certificates, reloader }
  const status = (): Status => statusOf(sources)
  metrics.watch(gaugesOf(sources))
  const admin = new Admin({
    metrics: async () => ({ type: metrics.registry.contentType, text: await metrics.registry.metrics() }),
    status,
    reload,
    token: settings.adminToken,
    names: adminNames(settings),
    clock,
    failed,
    crowded: (dropped, source) =>
      log.warn({ dropped, source }, 'the admin port is crowded: connections were closed to make room for others'),
  })
  return {
    number,
    metrics,
    counting,
    upstreams,
    front,
    certificates,
    sessions,
    listener,
    admin,
    status,
    reload,
    drain: () => {
      draining = true
    },
    allServed,
  }
}

const since =
  (elapsed: () => number, from = elapsed()) =>
  (): number =>
    elapsed() - from

/** What is done with the secret of TLS session tickets that nodes agree on; undefined: none is needed. */
const ticketsFor = ({ settings, ticketKey }: NodeOptions, certificates: () => Certificates | undefined) =>
  settings.tlsCert.length === 0 || settings.tlsTicketKey !== undefined || ticketKey !== undefined
    ? undefined
    : (secret: string): void => certificates()?.useTicketKey(ticketKeyOf(secret))

/** A listener that keeps track of its connections until they have ended. */
function listening(front: ConnectionParts, failed: (error: Error) => void): Pick<Node, 'listener' | 'allServed'> {
  const serving = new Set<Promise<void>>()
  const listener = new Listener((socket) => {
    const served = serve(socket, front)
    if (served === undefined) return
    serving.add(served)
    void served.then(() => serving.delete(served))
  }, failed)
  const allServed = async (): Promise<void> => {
    while (serving.size > 0) await Promise.all(serving)
  }
  return { listener, allServed }
}

/** The names that the admin port answers to besides those of loopback. */
const adminNames = ({ hostname, adminListen: { host }, adminHosts }: Settings): string[] =>
  isIP(host) === 0 ? [hostname, host, ...adminHosts] : [hostname, ...adminHosts]
