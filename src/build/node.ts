/** Builds a whole node from the settings and joins its parts. Nothing listens, and nobody is asked anything, before app.ts starts it. */
import { isIP } from 'node:net'
import { Admin } from '../admin/http.ts'
import type { Status } from '../admin/status.ts'
import type { Settings } from '../config/settings.ts'
import { SYSTEM_CLOCK } from '../core/clock.ts'
import { Current } from '../core/current.ts'
import { nodeNumber } from '../core/id.ts'
import { type ConnectionParts, serve } from '../front/connection.ts'
import { Listener } from '../front/gate/listener.ts'
import { LiveSessions } from '../front/session/live-sessions.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import { createKnownRecipients } from '../state/known-recipients.ts'
import { Seats } from '../state/seats.ts'
import type { Log } from '../telemetry/log.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics.ts'
import { buildFront } from './front.ts'
import { buildLimits, type Counting } from './limits.ts'
import { type BuiltPolicy, buildPolicy, inForce } from './policy.ts'
import { buildRelay } from './relay.ts'
import { gaugesOf, type StatusSources, statusOf } from './status.ts'

export interface NodeOptions {
  readonly settings: Settings
  readonly version: string
  readonly log: Log
  /** What the machine calls itself: nodes behind one name have the same HOSTNAME, and are told apart by this. */
  readonly machine: string
  /** PEM, where the settings name a certificate. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
}

export interface Node {
  /** In the ids of its sessions. */
  readonly number: number
  readonly metrics: Metrics
  readonly counting: Counting
  readonly upstreams: Upstreams
  readonly front: ConnectionParts
  readonly sessions: LiveSessions
  readonly listener: Listener
  readonly admin: Admin
  readonly status: () => Status
  /** Not ready from now on. */
  drain(): void
  /** Resolves when every connection accepted so far has come to its end. */
  allServed(): Promise<void>
}

export function buildNode({ settings, version, log, machine, tls }: NodeOptions): Node {
  const clock = SYSTEM_CLOCK
  const { now } = clock
  const number = nodeNumber(`${machine} ${settings.listen.map(({ host, port }) => `${host}:${port}`).join()}`)
  const metrics = createMetrics({ version, upstreams: settings.upstreams.map(({ label }) => label) })
  const common = { settings, metrics, log, clock, now }
  const counting = buildLimits({ ...common, mode: (check) => policy.mode(check) })
  const { limits } = counting
  const relay = buildRelay(common)
  const { upstreams } = relay
  const offeredSize = (): number => Number(upstreams.offer?.get('SIZE') ?? 0)
  // What counts asks the policy, and the policy asks what counts: neither does before a client is there.
  const policyInForce = new Current(buildPolicy({ settings, limits, offeredSize, metrics, log }))
  const policy: BuiltPolicy = inForce(policyInForce)
  const knownRecipients = createKnownRecipients({ now })
  const seats = new Seats()
  const sessions = new LiveSessions()
  const parts = { node: number, policy, limits, knownRecipients, relay, seats, live: sessions }
  const front = buildFront({ ...common, tls, ...parts })
  const troubled = (error: Error): void => log.error({ err: error.message }, 'a listening socket is in trouble')
  const { listener, allServed } = listening(front, troubled)
  let draining = false
  const ready = (): boolean => listener.listening && !draining
  const own = { version, node: settings.hostname, ready, startedAt: now(), now }
  const sources: StatusSources = { ...own, seats, counting, knownRecipients, upstreams }
  const status = (): Status => statusOf(sources)
  metrics.watch(gaugesOf(sources))
  const admin = new Admin({
    metrics: async () => ({ type: metrics.registry.contentType, text: await metrics.registry.metrics() }),
    status,
    token: settings.adminToken,
    names: adminNames(settings),
    clock,
    failed: troubled,
    crowded: (dropped, source) =>
      log.warn({ dropped, source }, 'the admin port is crowded: connections were closed to make room for others'),
  })
  const drain = (): void => {
    draining = true
  }
  return { number, metrics, counting, upstreams, front, sessions, listener, admin, status, drain, allServed }
}

/** A listener whose connections are counted until they have come to their end. */
function listening(front: ConnectionParts, troubled: (error: Error) => void): Pick<Node, 'listener' | 'allServed'> {
  const serving = new Set<Promise<void>>()
  const listener = new Listener((socket) => {
    const served = serve(socket, front)
    if (served === undefined) return
    serving.add(served)
    void served.then(() => serving.delete(served))
  }, troubled)
  const allServed = async (): Promise<void> => {
    while (serving.size > 0) await Promise.all(serving)
  }
  return { listener, allServed }
}

/** The names of the admin port, beside those of loopback. */
const adminNames = ({ hostname, adminListen: { host }, adminHosts }: Settings): string[] =>
  isIP(host) === 0 ? [hostname, host, ...adminHosts] : [hostname, ...adminHosts]
