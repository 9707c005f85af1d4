/**
 * One node, from start to stop: joins the parts that build/ makes from the settings, and ends them in order. The program,
 * the demo and the tests start the same app.
 */
import { isIP } from 'node:net'
import { Admin } from './admin/http.ts'
import type { Status } from './admin/status.ts'
import { buildFront } from './build/front.ts'
import { buildLimits } from './build/limits.ts'
import { type BuiltPolicy, buildPolicy, inForce } from './build/policy.ts'
import { buildRelay } from './build/relay.ts'
import { gaugesOf, statusOf } from './build/status.ts'
import type { Settings } from './config/settings.ts'
import { SYSTEM_CLOCK } from './core/clock.ts'
import { Current } from './core/current.ts'
import { nodeNumber } from './core/id.ts'
import { serve } from './front/connection.ts'
import { type ListenAddress, Listener } from './front/gate/listener.ts'
import type { Session } from './front/session/session.ts'
import { createKnownRecipients } from './state/known-recipients.ts'
import { Seats } from './state/seats.ts'
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
  /** The operator did not set LISTEN. Without IPv6 on this machine, the [::] of its default is then left out. */
  readonly listenIsDefault?: boolean
}

export interface Running {
  /** With the ports the system chose for port 0. */
  readonly listening: readonly ListenAddress[]
  readonly admin: ListenAddress
  readonly metrics: Metrics
  readonly status: () => Status
  /**
   * Drains: not ready at once, no new connections. Sessions without a transaction hear 421 at once, the others when theirs is
   * over or SHUTDOWN_TIMEOUT has passed; a message past its dot is waited for. Resolves when all is over.
   */
  stop(): Promise<void>
  /** Ends now: what is past its dot is cut, and logged as unknown. */
  abort(): Promise<void>
}

/** An address cannot be listened on. The message is the system's; `code` is its error code, such as EADDRINUSE. */
export class ListenError extends Error {
  readonly setting: 'SPILLWAY_LISTEN' | 'SPILLWAY_ADMIN_LISTEN'
  readonly code: string | undefined
  /** The address that was tried; undefined if a name did not resolve. */
  readonly address: string | undefined

  constructor(setting: ListenError['setting'], cause: NodeJS.ErrnoException) {
    super(cause.message, { cause })
    this.setting = setting
    this.code = cause.code
    this.address = (cause as { address?: string }).address
  }
}

/** @throws ListenError */
async function bound<T>(setting: ListenError['setting'], listening: Promise<T>): Promise<T> {
  try {
    return await listening
  } catch (error) {
    throw new ListenError(setting, error as NodeJS.ErrnoException)
  }
}

/** How long the lines of sessions that are cut may take. */
const ABORT_MS = 2000

/** Rejects with ListenError when an address cannot be listened on. Upstreams that are down do not keep it from starting. */
export async function start({
  settings,
  version,
  log,
  machine,
  tls,
  listenIsDefault = false,
}: AppOptions): Promise<Running> {
  const clock = SYSTEM_CLOCK
  const { now } = clock
  const node = nodeNumber(`${machine} ${settings.listen.map(({ host, port }) => `${host}:${port}`).join()}`)
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
  const front = buildFront({ ...common, tls, node, policy, limits, knownRecipients, relay, seats, live: sessions })

  const serving = new Set<Promise<void>>()
  const troubled = (error: Error): void => log.error({ err: error.message }, 'a listening socket is in trouble')
  const listener = new Listener((socket) => {
    const served = serve(socket, front)
    if (served === undefined) return
    serving.add(served)
    void served.then(() => serving.delete(served))
  }, troubled)
  const allServed = async (): Promise<void> => {
    while (serving.size > 0) await Promise.all(serving)
  }
  let draining = false
  const ready = (): boolean => listener.listening && !draining
  const sources = {
    ...{ version, node: settings.hostname, ready, startedAt: now(), now },
    ...{ seats, counting, knownRecipients, upstreams },
  }
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
  /** Others hear that this node has left; nobody is counted any more. */
  const quit = async (): Promise<void> => {
    listener.close()
    admin.close()
    upstreams.stop()
    front.linger.stop()
    metrics.watch(undefined)
    await counting.shared?.stop()
    await counting.redis?.close()
  }

  const leaveOut = ({ host, port }: ListenAddress, { code }: NodeJS.ErrnoException): void =>
    log.warn(
      { host, port, code },
      'this machine has no IPv6: SPILLWAY_LISTEN is not set, and of its default only the IPv4 address is used',
    )

  let listening: readonly ListenAddress[]
  let adminAt: ListenAddress
  try {
    // The first time it is slow, and would hold up replies if a scrape came in the middle of a flood.
    await metrics.registry.metrics()
    adminAt = await bound('SPILLWAY_ADMIN_LISTEN', admin.listen(settings.adminListen))
    await counting.shared?.start()
    await upstreams.start()
    listening = await bound('SPILLWAY_LISTEN', listener.listen(settings.listen, listenIsDefault ? leaveOut : undefined))
  } catch (error) {
    await quit()
    throw error
  }
  for (const { host, port } of listening) log.info({ host, port, node }, 'listening for mail')
  log.info({ ...adminAt }, 'listening for the operator')

  const stop = async (): Promise<void> => {
    draining = true
    listener.close()
    log.info({ sessions: sessions.size }, 'draining')
    sessions.drain()
    await within(allServed(), settings.shutdownTimeout)
    sessions.dismiss()
    await allServed()
    front.outcomes.flush()
    await quit()
    log.info({}, 'stopped')
    log.flush()
  }
  const abort = async (): Promise<void> => {
    draining = true
    listener.close()
    log.warn(
      { sessions: sessions.size, unknown: sessions.pastDot },
      'ended now; of messages past their dot nobody knows',
    )
    sessions.cut()
    // Each has its line in the log; none waits for anything any more.
    await within(allServed(), ABORT_MS)
    front.outcomes.flush()
    await quit()
    log.flush()
  }
  return { listening, admin: adminAt, metrics, status, stop, abort }
}

/** The names of the admin port, beside those of loopback. */
const adminNames = ({ hostname, adminListen: { host }, adminHosts }: Settings): string[] =>
  isIP(host) === 0 ? [hostname, host, ...adminHosts] : [hostname, ...adminHosts]

/** The sessions under way, for whoever has to end them. Those that begin later are ended in the same way. */
class LiveSessions {
  readonly #sessions = new Set<Session>()
  #end: 'drain' | 'dismiss' | undefined

  get size(): number {
    return this.#sessions.size
  }

  /** Sessions with a message that is past its dot and not yet answered. */
  get pastDot(): number {
    return [...this.#sessions].filter((session) => session.pastDot).length
  }

  add(session: Session): void {
    this.#sessions.add(session)
    // It was accepted before, and only now is known to be a client (its PROXY header was waited for).
    if (this.#end !== undefined) session[this.#end]()
  }

  delete(session: Session): void {
    this.#sessions.delete(session)
  }

  /** Each ends with its transaction. */
  drain(): void {
    this.#end = 'drain'
    for (const session of this.#sessions) session.drain()
  }

  /** Each ends now, but for messages past their dot. */
  dismiss(): void {
    this.#end = 'dismiss'
    for (const session of this.#sessions) session.dismiss()
  }

  cut(): void {
    for (const session of this.#sessions) session.cut()
  }
}

/** Resolves when `work` does, or after `ms`. */
async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work, patience])
  clearTimeout(timer)
}
