/**
 * One node, from start to stop. The program, the demo and the tests start the same app; its parts are made in build/.
 */

import type { Status } from './admin/status.ts'
import type { BanControl } from './build/bans.ts'
import type { KernelControl } from './build/kernel.ts'
import { buildNode, type Node, type NodeOptions } from './build/node.ts'
import type { AdminAddress } from './config/admin-kind.ts'
import type { ReloadReport } from './config/reload.ts'
import { patiently, within } from './core/deadline.ts'
import type { Feedback, FeedbackReport } from './core/feedback.ts'
import type { Orders } from './core/orders.ts'
import type { PressureReport } from './core/overload.ts'
import { ensureFree, type ListenAddress } from './front/gate/listener.ts'
import type { Metrics } from './telemetry/metrics.ts'
import type { Tallied } from './telemetry/observed/report.ts'

export interface AppOptions extends NodeOptions {
  /** The operator did not set LISTEN. Without IPv6 on this machine, the [::] of its default is then left out. */
  readonly listenIsDefault?: boolean
  /** Sockets that were opened for us, instead of those of LISTEN and of ADMIN_LISTEN. */
  readonly sockets?: { readonly mail: readonly number[]; readonly admin: number | undefined }
  /** Lets another one give up its ports; called when this one listens for mail. */
  readonly takeOver?: () => Promise<void>
  /** The kernel's table may still be another one's: this one makes it when `keepTable` is called, and not at the start. */
  readonly leavesTable?: boolean
}

export interface Running {
  /** The addresses in use, with the ports that the system chose for port 0. */
  readonly listening: readonly ListenAddress[]
  /** Undefined in a worker: its parent has the admin port. */
  readonly admin: AdminAddress | undefined
  readonly metrics: Metrics
  readonly status: () => Status
  /** What checks in observe mode would have refused. */
  readonly tallied: () => Tallied
  /** Sessions under way, and those of them with a message past its dot. */
  readonly underWay: () => { readonly sessions: number; readonly pastDot: number }
  /**
   * Drains the node: from now on it is not ready and takes no new connections. Sessions without a transaction receive 421 at
   * once, the others when their transaction is over or SHUTDOWN_TIMEOUT has passed. A message past its final dot is waited for.
   * After a handover there is no hurry: until SHUTDOWN_TIMEOUT has passed, sessions go on as if nothing had happened, since new ones
   * come to another process; a signal may follow. Resolves when all is over.
   */
  stop(after?: 'signal' | 'handover'): Promise<void>
  /**
   * Reads the settings and the certificates again. Resolves when they are in force, or their mistakes are told. Undefined if
   * there is nothing to read the settings from.
   * @param by who asked for it
   */
  readonly reload: ((by: string) => Promise<ReloadReport>) | undefined
  /** Somebody outside says how hard pressed a mail server is. */
  readonly reported: (report: PressureReport) => void
  /** Somebody says what a message was. @returns undefined if it has a queue id that is not known here */
  readonly feedback: (feedback: Feedback) => FeedbackReport | undefined
  /** What an address, a network or an id is to it, and to other nodes. */
  readonly explaining: Node['explaining']
  /** What the operator, and other processes of the node, do with bans. */
  readonly bans: BanControl
  /** What processes of the node tell each other of clients that meet the kernel next. */
  readonly kernel: KernelControl
  /** Makes the kernel's table, in place of whatever is there, if that is this one's to do. To be called where `leavesTable` was given. */
  keepTable(): void
  /** What the operator says at run time, as a whole. */
  readonly obey: (orders: Orders) => void
  /** Reads again the files that it follows by itself, such as certificates. Never rejects. */
  follow(): Promise<void>
  /** Resolves when another one takes this one's place: the admin port is free then, and this one is to be stopped. */
  readonly handedOver: Promise<void>
  /** Ends the node now: messages past their final dot are cut off and logged as unknown. */
  abort(): Promise<void>
}

/** An address cannot be listened on. The message is the system's; `code` is its error code, such as EADDRINUSE. */
export class ListenError extends Error {
  /** LISTEN_FDS stands for a socket that was opened for us. */
  readonly setting: 'SPILLWAY_LISTEN' | 'SPILLWAY_ADMIN_LISTEN' | 'LISTEN_FDS'
  readonly code: string | undefined
  /** The address that was tried; undefined if a name did not resolve. */
  readonly address: string | undefined
  readonly port: number | undefined

  constructor(setting: ListenError['setting'], cause: NodeJS.ErrnoException) {
    super(cause.message, { cause })
    this.setting = setting
    this.code = cause.code
    const { address, port } = cause as { address?: string; port?: number }
    this.address = address
    this.port = port
  }
}

/** @throws ListenError where `listening` rejects */
export async function bound<T>(setting: ListenError['setting'], listening: Promise<T>): Promise<T> {
  try {
    return await listening
  } catch (error) {
    throw new ListenError(setting, error as NodeJS.ErrnoException)
  }
}

/** How long sessions that are cut off may take to write their log lines, in milliseconds. */
const ABORT_MS = 2000

/** Rejects with ListenError if an address cannot be listened on. Mail servers that are down do not prevent the start. */
export async function start(options: AppOptions): Promise<Running> {
  const { log } = options
  const { promise: handedOver, resolve } = Promise.withResolvers<void>()
  const handOver = (): void => {
    node.admin.release()
    resolve()
  }
  const node = buildNode({ ...options, handOver })
  const { sessions, front } = node
  let quitting: Promise<void> | undefined
  /** Quits once, even if the node is aborted while it is being stopped. */
  const quitOnce = (): Promise<void> => {
    quitting ??= quit(node)
    return quitting
  }
  const { listening, admin } = await begin(node, options)
  const keepTable = (): void => node.kernel.start(listening)
  // Not before all has gone well: the table that it replaces may be that of a Spillway that goes on.
  if (options.leavesTable !== true) keepTable()
  for (const { host, port } of listening) log.info({ host, port, node: node.number }, 'listening for mail')
  if (admin !== undefined) log.info({ ...admin }, 'listening for the operator')

  let stopping: Promise<void> | undefined
  const stop = (after: 'signal' | 'handover' = 'signal'): Promise<void> => {
    if (after === 'signal') sessions.drain()
    stopping ??= drain()
    return stopping
  }
  const drain = async (): Promise<void> => {
    log.info({ sessions: sessions.size }, 'draining')
    await serveToEnd(node)
    await quitOnce()
    log.info({}, 'stopped')
    log.flush()
  }
  const abort = async (): Promise<void> => {
    node.drain()
    node.listener.close()
    log.warn(
      { sessions: sessions.size, unknown: sessions.pastDot },
      'ended now; what became of messages past their final dot is unknown',
    )
    sessions.cut()
    // Each session writes its log line; none waits for anything else.
    await within(node.allServed(), ABORT_MS, () => undefined)
    front.outcomes.flush()
    await quitOnce()
    log.flush()
  }
  const { metrics, status, explaining, reload, reported, feedback, bans, obey, follow } = node
  const underWay = () => ({ sessions: sessions.size, pastDot: sessions.pastDot })
  const kernel = node.kernel.control
  const outside = { explaining, reload, reported, feedback, bans, obey, kernel, keepTable, follow }
  const tallied = () => node.tally.report()
  return { listening, admin, metrics, status, tallied, underWay, stop, ...outside, handedOver, abort }
}

/** Whether nobody else should listen on its addresses, though the system would allow it. */
const isAlone = ({ sharesPorts = false, worker, takeOver, sockets }: AppOptions): boolean =>
  sharesPorts && worker === undefined && takeOver === undefined && (sockets?.mail.length ?? 0) === 0

/**
 * Listens for the operator first and for mail last. If that fails, whatever was started is stopped.
 * @throws ListenError
 */
async function begin(node: Node, options: AppOptions): Promise<Pick<Running, 'listening' | 'admin'>> {
  const { log, worker, listenIsDefault = false, sockets, takeOver } = options
  const { settings } = options.reading
  const leaveOut = ({ host, port }: ListenAddress, { code }: NodeJS.ErrnoException): void =>
    log.warn(
      { host, port, code },
      'this machine has no IPv6: SPILLWAY_LISTEN is not set, and of its default only the IPv4 address is used',
    )
  const { metrics, counting, dns, upstreams, overload, traffic, listener, policy } = node
  try {
    // The first rendering of a process is slow. Left to a scrape in the middle of a flood, it would hold up replies.
    if (options.ofProcess === undefined) await metrics.registry.metrics()
    const forOperator = async () => {
      if (worker) return undefined
      if (sockets?.admin === undefined) return bound('SPILLWAY_ADMIN_LISTEN', node.admin.listen(settings.adminListen))
      const passed = await bound('LISTEN_FDS', node.admin.listen({ fd: sockets.admin }))
      // The one in the file system is passed by nobody.
      const { socket } = settings.adminListen
      return socket === undefined ? passed : bound('SPILLWAY_ADMIN_LISTEN', node.admin.open(passed, socket))
    }
    const first = takeOver === undefined ? await forOperator() : undefined
    if (isAlone(options)) await bound('SPILLWAY_LISTEN', ensureFree(settings.listen))
    await counting.start()
    dns.start()
    await upstreams.start()
    overload.start()
    traffic.start()
    policy.certificates?.watch()
    const onlyIPv4 = listenIsDefault ? leaveOut : undefined
    const listening =
      sockets !== undefined && sockets.mail.length > 0
        ? await bound('LISTEN_FDS', listener.adopt(sockets.mail))
        : await bound('SPILLWAY_LISTEN', listener.listen(settings.listen, onlyIPv4))
    await takeOver?.()
    // Nobody else would serve: whoever has the port for a moment is waited for.
    const admin = first ?? (await patiently(forOperator))
    return { admin, listening }
  } catch (error) {
    // Clients may have come while another one was asked to give up its ports.
    node.sessions.drain()
    await serveToEnd(node)
    await quit(node)
    throw error
  }
}

/** Takes no new clients, and waits for those that are there, for as long as they may take. */
async function serveToEnd(node: Node): Promise<void> {
  const { sessions, listener, policy, front } = node
  node.drain()
  await listener.closeEmpty()
  await within(node.allServed(), policy.settings.shutdownTimeout, () => undefined)
  sessions.dismiss()
  await node.allServed()
  front.outcomes.flush()
}

/** Stops all parts. The other nodes learn that this one has left, and nothing is counted any more. */
async function quit({
  listener,
  admin,
  upstreams,
  overload,
  traffic,
  front,
  policy,
  metrics,
  dns,
  counting,
  kernel,
}: Node): Promise<void> {
  listener.close()
  admin.close()
  upstreams.stop()
  dns.stop()
  overload.stop()
  traffic.stop()
  front.linger.stop()
  policy.certificates?.stop()
  metrics.watch(undefined)
  await Promise.all([kernel.stop(), counting.stop()])
}
