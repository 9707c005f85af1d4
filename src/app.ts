/**
 * Builds every part from the settings and joins them: the only file that knows them all. The program, the demo and the
 * tests start the same app; whatever a part needs it gets here, as an argument.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { Admin, type Status } from './admin/http.ts'
import { policy } from './checks/index.ts'
import { createRunner, modeOf } from './checks/runner.ts'
import type { Settings } from './config/settings.ts'
import { nodeNumber, sessionIds } from './core/id.ts'
import { compile } from './core/ip.ts'
import { reasonOf } from './core/reasons.ts'
import type { LimitName } from './core/usage.ts'
import { serve } from './front/connection.ts'
import { createIdentify } from './front/identify.ts'
import { Linger, MAX_LINGERING } from './front/linger.ts'
import { type ListenAddress, Listener } from './front/listener.ts'
import { NatWatch } from './front/nat-watch.ts'
import { Outcomes } from './front/outcome.ts'
import { createVoice } from './front/reply.ts'
import { type Session, Sessions } from './front/session.ts'
import { createNames } from './relay/names.ts'
import { Upstreams } from './relay/upstreams.ts'
import { createKnownRecipients } from './state/known-recipients.ts'
import { createLimits, type LimitsOptions } from './state/limits.ts'
import { connectRedis } from './state/redis.ts'
import { Seats } from './state/seats.ts'
import { createSharedLimits } from './state/shared-limits.ts'
import type { Log } from './telemetry/log.ts'
import { createMetrics, type Metrics } from './telemetry/metrics.ts'

export interface AppOptions {
  readonly settings: Settings
  readonly version: string
  readonly log: Log
  /** What the machine calls itself: nodes behind one name have the same HOSTNAME, and are told apart by this. */
  readonly machine: string
  /** PEM, where the settings name a certificate. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined
}

export interface Running {
  /** With the ports the system chose for port 0. */
  readonly listening: readonly ListenAddress[]
  readonly admin: ListenAddress
  readonly metrics: Metrics
  readonly status: () => Status
  /**
   * Drains: not ready at once, no new connections; sessions may finish within SHUTDOWN_TIMEOUT, the rest hear 421; a
   * message past its dot is waited for. Resolves when all is over.
   */
  stop(): Promise<void>
  /** Ends now: what is past its dot is cut, and logged as unknown. */
  abort(): Promise<void>
}

/** How long the lines of sessions that are cut may take. */
const ABORT_MS = 2000

/** Rejects when an address cannot be listened on. Upstreams that are down do not keep it from starting. */
export async function start({ settings, version, log, machine, tls }: AppOptions): Promise<Running> {
  const startedAt = Date.now()
  const now = (): number => Date.now()
  const { hostname } = settings
  const node = nodeNumber(`${machine} ${settings.listen.map(({ host, port }) => `${host}:${port}`).join()}`)
  const metrics = createMetrics({ version, upstreams: settings.upstreams.map(({ label }) => label) })
  const dial = {
    clientIp: settings.upstreamClientIp,
    tls: settings.upstreamTls,
    hostname,
    connectTimeoutMs: settings.upstreamConnectTimeout,
    replyTimeoutMs: settings.upstreamReplyTimeout,
    names: createNames({ servers: settings.dnsServers }),
  }
  const upstreams = new Upstreams({
    addresses: settings.upstreams,
    maxConnections: settings.upstreamMaxConnections,
    healthIntervalMs: settings.upstreamHealthInterval,
    relayGuard: settings.relayGuard,
    dial,
    metrics,
    log,
  })
  const modes = (name: Parameters<typeof modeOf>[0]): ReturnType<typeof modeOf> => modeOf(name, settings.observe)
  const counting: LimitsOptions = {
    rates: {
      ip_connections: settings.limitIpConnections,
      net_connections: settings.limitNetConnections,
      global_connections: settings.limitGlobalConnections,
      ip_messages: settings.limitIpMessages,
      global_messages: settings.limitGlobalMessages,
      ip_recipients: settings.limitIpRecipients,
      unknown_recipients: settings.limitIpUnknownRecipients,
    },
    enforced: (limit: LimitName) => {
      const { check } = reasonOf(limit)
      return check === undefined || modes(check) === 'enforce'
    },
    now,
    seed: randomBytes(8),
  }
  const redis = settings.redisUrl && connectRedis({ address: settings.redisUrl, timeoutMs: settings.redisTimeout, log })
  const shared =
    redis &&
    createSharedLimits({
      ...counting,
      link: redis,
      prefix: settings.redisPrefix,
      timeoutMs: settings.redisTimeout,
      // Two nodes may have the same name, and one that is started again is not the one that was.
      node: `${hostname}:${randomBytes(6).toString('hex')}`,
      metrics,
      log,
    })
  const limits = shared ?? createLimits(counting)
  const knownRecipients = createKnownRecipients({ now })
  const maxSize = (): number | undefined => {
    const offered = Number(upstreams.offer.get('SIZE') ?? 0)
    const set = settings.messageMaxSize === 'upstream' ? 0 : settings.messageMaxSize
    return offered > 0 && set > 0 ? Math.min(offered, set) : offered > 0 ? offered : set > 0 ? set : undefined
  }
  const checks = createRunner({
    policy: policy({
      isDenied: compile(settings.deny),
      concurrency: settings.limitIpConcurrency,
      maxSize,
      domains: settings.rcptDomains,
      recipientsPerMessage: settings.limitRecipientsPerMessage,
      unknownLately: (source) => limits.lately(source),
    }),
    mode: modes,
    metrics,
    log,
  })
  const seats = new Seats()
  // Refused clients that have not closed yet are open files beyond MAX_CONNECTIONS.
  const linger = new Linger(Math.min(MAX_LINGERING, Math.max(16, Math.floor(settings.maxConnections / 4))))
  const live = new Set<Session>()
  let patient = true
  const voice = createVoice(hostname, settings.supportUrl)
  const outcomes = new Outcomes({
    metrics,
    log,
    logSample: settings.logSample,
    localParts: settings.logLocalParts,
    now,
  })
  const sessions = new Sessions({
    conversation: {
      checks,
      limits,
      knownRecipients,
      unknownGuard: settings.unknownGuard,
      relay: {
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
        now,
      },
      outcomes,
      voice,
      maxSize,
      sizeMode: modes('size'),
    },
    tls,
    idleMs: settings.idleTimeout,
    minDataRate: settings.minDataRate,
    sessionMs: settings.sessionMaxTime,
    maxMessages: settings.sessionMaxMessages,
    metrics,
    log,
  })
  const isBalancer = compile(settings.proxyProtocolFrom)
  const parts = {
    identify: createIdentify({
      isBalancer,
      isTrusted: compile(settings.allow),
      newId: sessionIds(node, randomInt(1 << 15)),
      now,
      metrics,
      log,
    }),
    seats,
    maxConnections: settings.maxConnections,
    limits,
    checks,
    sessions,
    outcomes,
    voice,
    linger,
    natWatch: new NatWatch(log, now),
    log,
    live: {
      add: (session: Session) => {
        live.add(session)
        // It was accepted before, and only now is known to be a client (its PROXY header was waited for).
        if (!patient) session.drain()
      },
      delete: (session: Session) => live.delete(session),
    },
  }

  const serving = new Set<Promise<void>>()
  const troubled = (error: Error): void => log.error({ err: error.message }, 'a listening socket is in trouble')
  const listener = new Listener((socket) => {
    const served = serve(socket, parts)
    if (served === undefined) return
    serving.add(served)
    void served.then(() => serving.delete(served))
  }, troubled)
  let draining = false
  const ready = (): boolean => listener.listening && !draining
  const status = (): Status => ({
    version,
    node: hostname,
    ready: ready(),
    uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
    connectionsOpen: seats.total,
    unknownGuard: knownRecipients.guarding(),
    ...(shared !== undefined && { redis: { up: shared.shared(), nodes: shared.nodes() } }),
    upstreams: upstreams.servers().map(({ label, host, port, up, connections }) => ({
      upstream: label,
      address: `${host}:${port}`,
      up,
      connections,
    })),
  })
  metrics.watch({
    connectionsOpen: (family) => seats.ofFamily(family),
    upstreamUp: (label) => upstreams.isUp(label),
    upstreamConnections: (label) => upstreams.connections(label),
    upstreamLimit: (label) => upstreams.limit(label),
    limitUtilization: (limit) => limits.utilization(limit),
    trackedClients: () => limits.tracked(),
    unknownGuardActive: () => knownRecipients.guarding(),
  })
  const admin = new Admin({
    metrics: async () => ({ type: metrics.registry.contentType, text: await metrics.registry.metrics() }),
    ready,
    status,
    token: settings.adminToken,
    failed: troubled,
  })
  const quit = (): void => {
    listener.close()
    admin.close()
    upstreams.stop()
    linger.stop()
    metrics.watch(undefined)
  }
  /** Others hear that this node has left; nobody is counted any more. */
  const leave = async (): Promise<void> => {
    await shared?.stop()
    await redis?.close()
  }

  let listening: readonly ListenAddress[]
  let adminAt: ListenAddress
  try {
    // The first time it is slow, and would hold up replies if a scrape came in the middle of a flood.
    await metrics.registry.metrics()
    adminAt = await admin.listen(settings.adminListen)
    await shared?.start()
    await upstreams.start()
    listening = await listener.listen(settings.listen)
  } catch (error) {
    quit()
    await leave()
    throw error
  }
  for (const { host, port } of listening) log.info({ host, port, node }, 'listening for mail')
  log.info({ ...adminAt }, 'listening for the operator')

  const allServed = async (): Promise<void> => {
    while (serving.size > 0) await Promise.all(serving)
  }
  const stop = async (): Promise<void> => {
    draining = true
    listener.close()
    log.info({ sessions: live.size }, 'draining')
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, settings.shutdownTimeout)
    })
    await Promise.race([allServed(), patience])
    clearTimeout(timer)
    patient = false
    for (const session of live) session.drain()
    await allServed()
    outcomes.flush()
    quit()
    await leave()
    log.info({}, 'stopped')
    log.flush()
  }
  const abort = async (): Promise<void> => {
    draining = true
    listener.close()
    const cut = [...live].filter((session) => session.pastDot).length
    log.warn({ sessions: live.size, unknown: cut }, 'ended now; of messages past their dot nobody knows')
    for (const session of live) session.cut()
    // Each has its line in the log; none waits for anything any more.
    await Promise.race([allServed(), new Promise((resolve) => setTimeout(resolve, ABORT_MS).unref())])
    outcomes.flush()
    quit()
    await leave()
    log.flush()
  }
  return { listening, admin: adminAt, metrics, status, stop, abort }
}
