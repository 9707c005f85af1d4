/**
 * Builds a whole node from the settings and connects its parts. Nothing listens, and nothing is asked of Redis or the mail
 * servers, before app.ts starts it.
 */
import { randomInt } from 'node:crypto'
import { Admin, type AdminParts } from '../admin/http.ts'
import { operatorOf } from '../admin/operator.ts'
import type { Status } from '../admin/status.ts'
import type { Reading, ReloadReport, Reread } from '../config/reload.ts'
import { ticketKeyOf } from '../config/ticket-key.ts'
import { SYSTEM_CLOCK } from '../core/clock.ts'
import { Current } from '../core/current.ts'
import type { Feedback, FeedbackReport } from '../core/feedback.ts'
import { nodeName, nodeNumber } from '../core/id.ts'
import type { Orders } from '../core/orders.ts'
import type { PressureReport } from '../core/overload.ts'
import type { Certificates } from '../front/certificates.ts'
import { type ConnectionParts, serve } from '../front/connection.ts'
import { Listener } from '../front/gate/listener.ts'
import { RecentSessions } from '../front/recent-sessions.ts'
import { LiveSessions } from '../front/session/live-sessions.ts'
import { maximum } from '../overload/maximum.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import type { Limits } from '../state/limits.ts'
import { Seats } from '../state/seats.ts'
import type { LevelledLog, Log } from '../telemetry/log.ts'
import { createMetrics, type Metrics, type ProcessMetrics } from '../telemetry/metrics.ts'
import type { ObservedTally } from '../telemetry/observed/tally.ts'
import type { Traffic } from '../telemetry/traffic/traffic.ts'
import { Week } from '../telemetry/traffic/week.ts'
import { type BanControl, buildBans } from './bans.ts'
import {
  buildCertificates,
  type CertificatesParts,
  nextCertificates,
  replaceCertificates,
  rereadCertificates,
} from './certificates.ts'
import { type BuiltDns, buildDns } from './dns.ts'
import { buildExplaining, type Explaining } from './explaining.ts'
import { takeFeedback } from './feedback.ts'
import { buildFront } from './front.ts'
import { type BuiltKernel, buildKernel } from './kernel.ts'
import { buildLimits, type Counting } from './limits.ts'
import { buildTally } from './observed.ts'
import { buildOrders } from './orders.ts'
import { type BuiltOverload, buildOverload } from './overload.ts'
import { type BuiltPolicy, buildPolicy, inForce } from './policy.ts'
import { type BuiltRelay, buildRelay } from './relay.ts'
import { Reloader } from './reload.ts'
import { gaugesOf, type StatusSources, statusOf } from './status.ts'
import { buildTraffic } from './traffic.ts'

export interface NodeOptions {
  /** The settings to begin with. */
  readonly reading: Reading
  readonly version: string
  readonly log: LevelledLog
  /** Reads the settings again, without holding up the event loop; absent where there is nothing to read them from. */
  readonly reread?: () => Promise<Reread>
  /** The machine's own name. It distinguishes nodes that share one name and so have the same HOSTNAME. */
  readonly machine: string
  /** This process is one of several that serve clients on the same addresses. */
  readonly worker?: Worker
  /** Another process may listen on the same addresses: one that takes this one's place. */
  readonly sharesPorts?: boolean
  /** In the ids of its sessions; by default from `machine` and its addresses. */
  readonly number?: number
  /** How many clients it remembers, for many nodes in one process; by default CLIENTS of state/history.ts. */
  readonly room?: number
  /** Measures the process, for many nodes in one process. */
  readonly ofProcess?: ProcessMetrics
  /** For the admin port: see AdminParts. */
  readonly privately?: AdminParts['privately']
  /** Called when another process asks to take this one's place. */
  readonly handOver?: () => void
  /** The key of TLS session tickets, 48 octets, for processes that share one. A file in the settings comes first. */
  readonly ticketKey?: Buffer
  /** What the operator has said before, to the process that this one takes the place of. */
  readonly orders?: Orders
}

export interface Worker {
  /** Its number in the ids of its sessions, which no other worker of the node has. */
  readonly number: number
  /** How many there are. */
  readonly of: number
  /** Twelve hexadecimal digits that all workers of the node have, and nobody else. */
  readonly crew: string
  /** It does what one of them does for the whole node. */
  readonly isFirst?: boolean
}

export interface Node {
  /** This node's number in the ids of its sessions. */
  readonly number: number
  readonly metrics: Metrics
  readonly counting: Counting
  readonly dns: Pick<BuiltDns, 'start' | 'stop'>
  readonly upstreams: Upstreams
  readonly overload: Pick<BuiltOverload, 'start' | 'stop'>
  readonly traffic: Pick<Traffic, 'start' | 'stop'>
  readonly tally: Pick<ObservedTally, 'report'>
  readonly front: ConnectionParts
  /** That in force. */
  readonly policy: BuiltPolicy
  readonly sessions: LiveSessions
  readonly listener: Listener
  readonly admin: Admin
  readonly status: () => Status
  /** Undefined if the settings cannot be read again. */
  readonly reload: ((by: string) => Promise<ReloadReport>) | undefined
  /** Somebody outside says how hard pressed a mail server is. */
  readonly reported: (report: PressureReport) => void
  /** Somebody says what a message was. @returns undefined if it has a queue id that is not known here */
  readonly feedback: (feedback: Feedback) => FeedbackReport | undefined
  /** What an address, a network or an id is to it, and to other nodes. */
  readonly explaining: Explaining
  /** What the operator, and other processes of the node, do with bans. */
  readonly bans: BanControl
  /** Hands clients to the kernel. */
  readonly kernel: BuiltKernel
  /** What the operator says at run time, as a whole. */
  readonly obey: (orders: Orders) => void
  /** Reads again the files that it follows by itself. Never rejects. */
  follow(): Promise<void>
  /** From now on the node is not ready. */
  drain(): void
  /** Resolves when every accepted connection has ended. */
  allServed(): Promise<void>
}

/** Throws if a certificate or a CA cannot be used. */
export function buildNode(options: NodeOptions): Node {
  const { reading, version, log, machine, worker, reread, ofProcess } = options
  const { settings } = reading
  const clock = SYSTEM_CLOCK
  const number = worker?.number ?? options.number ?? nodeNumber(nodeName(machine, settings.listen))
  const metrics = createMetrics({ version, upstreams: settings.upstreams.map(({ label }) => label), ofProcess })
  const tickets = ticketsOf(options, () => policy.certificates)
  const common = { settings, metrics, log, clock, now: clock.now, week: new Week(), ...tickets }
  const counting = buildLimits({
    ...{ ...common, isFirst: worker?.isFirst ?? !worker, hashNow: () => reloader.state().hash },
    nodes: worker?.of ?? 1,
    room: options.room,
    mode: (check) => policy.mode(check),
    ratesNow: () => policy.rates(),
    maximum: (limit, { standing }) => maximum(limit, standing, overload.enforced, policy.rates(), policy.factors()),
    standingAlone: (own) => policy.standingAlone(own),
    settingsNow: () => policy.settings,
  })
  const dns = buildDns({ ...common, ...counting, room: options.room, settingsNow: () => policy.settings })
  const banning = buildBans({ ...common, ...counting, policy: () => policy })
  const kernel = buildKernel({ ...common, ...banning, policy: () => policy, isKeeper: worker?.isFirst ?? !worker })
  const relay = buildRelay({ ...common, reading, nameOf: dns.nameOf, overload: () => overload })
  const { upstreams } = relay
  const offeredSize = (): number => Number(upstreams.offer?.get('SIZE') ?? 0)
  const [seats, recent, sessions] = [new Seats(), recentOf(settings.hostname, counting), new LiveSessions()]
  const pressed = { upstreams, seats, processes: worker?.of ?? 1 }
  const overloading = buildOverload({ ...common, ...counting, ...pressed, policy: () => policy })
  const { overload, guesses, reported, pin } = overloading
  const ordering = buildOrders({ ...common, upstreams, pin, policy: () => policy }, options.orders)
  // These ask the policy and the policy asks them, but neither does so before there is a client.
  const policyOf = (from: Reading, certificates: Certificates | undefined): BuiltPolicy =>
    buildPolicy({ ...from, ...dns, certificates, ...counting, overload, offeredSize, metrics, log })
  const policyInForce = new Current(policyOf(reading, buildCertificates(settings, common)))
  const policy: BuiltPolicy = inForce(policyInForce)
  const parts = { ...common, ...counting, ...dns, node: number, policy, overload, relay, seats, live: sessions, recent }
  policy.certificates?.publish()
  const apply = (next: Reading): Promise<void> =>
    putInForce(next, { policyOf, policyInForce, ...counting, relay, ...common })
  const follow = (): Promise<void> => rereadCertificates(policy.certificates)
  const reloader = new Reloader({ reading, apply, follow, metrics, log: worker ? quiet(log) : log, reread })
  const reload = reread && ((by: string) => reloader.reload(by))
  const traffic = buildTraffic({ ...common, overload: () => overload })
  const { tally, observed } = buildTally({ ...common, settingsNow: () => policy.settings })
  const front = buildFront({ ...parts, guesses, banning, kernel, traffic, tally })
  const explaining = buildExplaining({ ...parts, status: () => status() }, worker)
  const failed = (error: Error): void => log.error({ err: error.message }, 'a listening socket failed')
  const { listener, allServed } = listening(front, failed, options.sharesPorts ?? false)
  let draining = false
  const ready = (): boolean => listener.listening && !draining && ordering.drainedSince() === undefined
  const own = { version, node: settings.hostname, ready, ...ordering, uptimeMs: since(clock.elapsed), pin }
  const measured = { metrics, counting, dns, upstreams, overload: overloading, guesses, traffic }
  const sources: StatusSources = { ...own, ...counting, ...measured, seats, kernel, policy, reloader, overload }
  const status = (): Status => statusOf(sources)
  metrics.watch(gaugesOf(sources))
  const [feedback, bans] = [(given: Feedback) => takeFeedback(given, parts), banning.control]
  const told = { ...publishing(metrics), status, observed, explain: explaining.everywhere, nodes: explaining.nodes }
  const answers = { ...told, reload, reported, feedback, bans, ...ordering }
  const admin = new Admin({ ...operatorOf(() => policy.settings, log), ...answers, ...handingOver(options), failed })
  const drain = (): void => {
    draining = true
  }
  const outside = { front, policy, bans, kernel, sessions, listener, admin, status, reload, reported, feedback, follow }
  return { number, explaining, ...measured, tally, ...outside, ...ordering, drain, allServed }
}

interface Swapped extends CertificatesParts {
  readonly policyOf: (from: Reading, certificates: Certificates | undefined) => BuiltPolicy
  readonly policyInForce: Current<BuiltPolicy>
  readonly limits: Limits
  readonly relay: BuiltRelay
  readonly log: LevelledLog
}

/** Swaps all that a reload changes. What may fail comes first, so that a failure changes nothing. */
async function putInForce(next: Reading, { policyOf, policyInForce, limits, relay, ...parts }: Swapped): Promise<void> {
  const before = policyInForce.value
  const certificates = await nextCertificates(before, next.settings, parts)
  const policy = policyOf(next, certificates)
  relay.apply(next)
  limits.change(policy.rates())
  policyInForce.swap(policy)
  replaceCertificates(before.certificates, certificates, parts)
  parts.log.setLevel(next.settings.logLevel)
}

const since =
  (elapsed: () => number, from = elapsed()) =>
  (): number =>
    elapsed() - from

/** The last sessions, which go on to Redis where there is one. */
const recentOf = (host: string, { kept }: Counting): RecentSessions =>
  new RecentSessions({
    ...{ host, seed: randomInt(2 ** 32) },
    kept: kept && ((kind, session, sender) => kept.note(kind, session, sender)),
  })

/** The key of TLS session tickets: one from outside, or the one that nodes agree on. */
function ticketsOf({ reading, ticketKey: given }: NodeOptions, certificates: () => Certificates | undefined) {
  const { tlsCert, tlsTicketKey } = reading.settings
  let key = given
  const agreed = (secret: string): void => {
    key = ticketKeyOf(secret)
    certificates()?.useTicketKey(key)
  }
  const isNeeded = tlsCert.length > 0 && tlsTicketKey === undefined && given === undefined
  return { ticketKey: () => key, ticketSecret: isNeeded ? agreed : undefined }
}

/** A listener that keeps track of its connections until they have ended. */
function listening(
  front: ConnectionParts,
  failed: (error: Error) => void,
  sharesPorts: boolean,
): Pick<Node, 'listener' | 'allServed'> {
  const serving = new Set<Promise<void>>()
  const listener = new Listener(
    (socket) => {
      const served = serve(socket, front)
      if (served === undefined) return
      serving.add(served)
      void served.then(() => serving.delete(served))
    },
    failed,
    sharesPorts,
  )
  const allServed = async (): Promise<void> => {
    while (serving.size > 0) await Promise.all(serving)
  }
  return { listener, allServed }
}

const publishing = ({ registry }: Metrics) => ({
  metrics: async () => ({ type: registry.contentType, text: await registry.metrics() }),
})

const handingOver = ({ handOver, privately }: NodeOptions) => ({
  privately,
  ...(handOver !== undefined && { handOver }),
})

/** A worker's parent tells of a reload, once for all workers. */
const quiet = ({ debug, flush }: Log): Log => ({ debug, info: debug, warn: debug, error: debug, flush })
