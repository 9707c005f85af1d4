/**
 * `spillway serve` with several workers. The parent holds no client: it starts the workers and replaces them, serves the
 * admin port for all of them, and reads the settings again. So there is little in it that could fail.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { BansParts } from '../../admin/bans.ts'
import { Admin } from '../../admin/http.ts'
import type { NodesParts } from '../../admin/nodes.ts'
import { operatorOf } from '../../admin/operator.ts'
import { StandingOrders } from '../../admin/orders.ts'
import type { Status } from '../../admin/status.ts'
import { bound, ListenError } from '../../app.ts'
import type { Latest } from '../../build/bans.ts'
import { buildNodesParts } from '../../build/nodes.ts'
import { bansPartWith, MOST_BANS } from '../../build/nodes-part.ts'
import { observeReport } from '../../build/observed.ts'
import { Reloader } from '../../build/reload.ts'
import { type Reading, type ReloadReport, readingWith } from '../../config/reload.ts'
import { TICKET_KEY_OCTETS } from '../../config/ticket-key.ts'
import type { Ban, BanMistake } from '../../core/bans.ts'
import { SYSTEM_CLOCK } from '../../core/clock.ts'
import { patiently } from '../../core/deadline.ts'
import { messageOf } from '../../core/errors.ts'
import { NODES, nodeName, nodeNumber, successorNumber } from '../../core/id.ts'
import type { OverloadMode } from '../../core/overload.ts'
import { ensureFree } from '../../front/gate/listener.ts'
import { createLog, type LevelledLog } from '../../telemetry/log.ts'
import { createParentMetrics, type ParentMetrics } from '../../telemetry/parent-metrics.ts'
import { countedOf, snapshotOf, together } from '../../telemetry/together.ts'
import { listenFailure } from '../listen-advice.ts'
import { privately } from '../privately.ts'
import { reread } from '../reread.ts'
import { type Serving, type Stoppable, untilStopped } from '../signals.ts'
import { unusedFor } from '../sockets.ts'
import { takeOver } from '../take-over.ts'
import { Crew } from './crew.ts'
import { StartFailure } from './hand.ts'
import type { ListAsked } from './protocol.ts'
import { statusOf } from './status.ts'

class Parent implements Stoppable {
  readonly handedOver: Promise<void>
  readonly reload: (by: string) => Promise<ReloadReport>
  readonly #serving: Serving
  readonly #log: LevelledLog
  readonly #crew: Crew
  readonly #admin: Admin
  #inForce: Reading
  #draining = false
  #isOver = false
  #asking: ReturnType<Crew['ask']> | undefined

  constructor(serving: Serving, workers: number, log: LevelledLog) {
    const { loaded, sources, version, sockets } = serving
    const reading = readingWith(loaded, (path) => readFileSync(path, 'utf8'))
    const machine = hostname()
    const name = nodeName(machine, reading.settings.listen)
    const metrics = createParentMetrics(Array.from({ length: workers }, (_, i) => String(i + 1)))
    const crew = new Crew({
      ...{ reading, version, machine, metrics, log, of: workers, sockets: sockets?.mail ?? [] },
      listenIsDefault: loaded.origins.listen === 'default',
      ticketKey: reading.settings.redisUrl === undefined ? randomBytes(TICKET_KEY_OCTETS) : undefined,
      // Not the one of its predecessor, which has the same name.
      number: serving.takesOver ? successorNumber(name, randomInt(NODES)) : nodeNumber(name),
    })
    const reloader = new Reloader({
      ...{ reading, metrics, log, apply: (next) => this.#apply(next), reread: () => reread(sources) },
      // The workers have the certificates.
      follow: async () => crew.follow(),
    })
    const startedAt = SYSTEM_CLOCK.elapsed()
    const status = async (): Promise<Status> => {
      const uptimeSeconds = Math.round((SYSTEM_CLOCK.elapsed() - startedAt) / 1000)
      const node = reading.settings.hostname
      const { since: drainedSince } = orders.drained
      const drained = { draining: this.#draining, ...(drainedSince !== undefined && { drainedSince }) }
      const own = { version, node, uptimeSeconds, ...drained, settings: reloader.state() }
      // Callers share a question: each would have all workers build their whole status.
      this.#asking ??= crew.ask(false).finally(() => {
        this.#asking = undefined
      })
      return statusOf(own, (await this.#asking).workers)
    }
    const orders = ordersOf(crew, () => this.#inForce, log)
    const { promise, resolve } = Promise.withResolvers<void>()
    const handOver = (): void => {
      this.#admin.release()
      resolve()
    }
    this.handedOver = promise
    this.reload = (by) => reloader.reload(by)
    this.#serving = serving
    this.#log = log
    this.#crew = crew
    this.#inForce = reading
    this.#admin = new Admin({
      ...operatorOf(() => this.#inForce.settings, log),
      ...{ status, handOver, reload: this.reload, metrics: () => page(crew, metrics) },
      reported: (report) => crew.reported(report),
      feedback: (given) => crew.feedback(given),
      explain: (asked) => crew.explain.ask(asked),
      nodes: nodesOf(crew, status, () => this.#inForce.settings.hostname),
      ...{ orders, privately, bans: bansOf(crew) },
      observed: async () => observeReport(await crew.tallies.ask(), this.#inForce.settings),
      failed: (error) => log.error({ err: error.message }, 'a listening socket failed'),
    })
  }

  /** Resolves when all workers serve, or when it is stopped before. */
  async start(): Promise<void> {
    const { takesOver, loaded, sockets } = this.#serving
    // One that is to take over must serve before the other one stops.
    if (takesOver) this.#crew.kernel.wait()
    else await this.#listen()
    try {
      // The workers could listen beside anybody who lets them.
      if (!takesOver && (sockets?.mail.length ?? 0) === 0)
        await bound('SPILLWAY_LISTEN', ensureFree(loaded.settings.listen))
      await this.#crew.start()
      if (takesOver) {
        await takeOver(loaded.settings, this.#log)
        await patiently(() => this.#listen())
        this.#crew.kernel.begin()
      }
    } catch (error) {
      // What has begun ends in `stop`.
      if (this.#draining) return
      this.#admin.close()
      // Clients may have come while another one was asked to give up its ports.
      await this.#crew.stop('signal')
      throw error
    }
    this.#log.info({}, 'all workers serve')
  }

  async stop(after: 'signal' | 'handover'): Promise<void> {
    this.#draining = true
    const wasWell = await this.#crew.stop(after)
    this.#end()
    if (!wasWell) throw new Error('a worker did not end well')
  }

  async abort(): Promise<void> {
    this.#draining = true
    await this.#crew.abort()
    this.#end()
  }

  async #listen(): Promise<void> {
    const { sockets, loaded } = this.#serving
    const own = sockets?.admin
    const { socket } = loaded.settings.adminListen
    let at = await this.#admin.listen(own === undefined ? loaded.settings.adminListen : { fd: own })
    // The one in the file system is passed by nobody.
    if (own !== undefined && socket !== undefined) at = await this.#admin.open(at, socket)
    this.#log.info({ ...at }, 'listening for the operator')
  }

  async #apply(next: Reading): Promise<void> {
    await this.#crew.apply(next)
    this.#inForce = next
    this.#log.setLevel(next.settings.logLevel)
  }

  #end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#admin.close()
    this.#log.info({}, 'stopped')
    this.#log.flush()
  }
}

const ordersOf = (crew: Crew, reading: () => Reading, log: LevelledLog): StandingOrders =>
  new StandingOrders({
    upstreams: () => reading().settings.upstreams.map(({ label }) => label),
    overload: () => reading().settings.overload as OverloadMode,
    obey: (orders) => crew.orders.give(orders),
    ...{ now: SYSTEM_CLOCK.now, log },
  })

/** What the admin port does with bans and with what is allowed, done by the workers. */
const bansOf = (crew: Crew): BansParts['bans'] => ({ ...listOf(crew, 'bans'), allowed: listOf(crew, 'allowed') })

const listOf = (crew: Crew, of: ListAsked['of']): BansParts['bans']['allowed'] => ({
  latest: async (limit) => (await crew.bans.ask({ of, what: 'latest', limit })) as Latest,
  add: async (ban) => (await crew.bans.ask({ of, what: 'add', ban })) as Ban | BanMistake,
  remove: async (network) => (await crew.bans.ask({ of, what: 'remove', network })) as Ban | BanMistake,
})

async function page(crew: Crew, metrics: ParentMetrics): Promise<{ readonly type: string; readonly text: string }> {
  const { workers, retired } = await crew.ask(true)
  const told = (isUp: boolean) =>
    workers.flatMap(({ worker, up, report }) =>
      report?.metrics === undefined || up !== isUp ? [] : [[String(worker), report.metrics] as const],
    )
  const silent = told(false).map(([, snapshot]) => countedOf(snapshot))
  const text = await together({
    parent: await snapshotOf(metrics.registry),
    workers: new Map(told(true)),
    retired: [...retired, ...silent],
  })
  return { type: metrics.registry.contentType, text }
}

/** What all nodes say, asked by one of the workers. */
const nodesOf = (crew: Crew, status: () => Promise<Status>, host: () => string): NodesParts =>
  buildNodesParts({
    ...{ status, host, now: SYSTEM_CLOCK.now, others: (asked) => crew.explain.others(asked) },
    bans: async () => {
      const { total, bans } = await listOf(crew, 'bans').latest(MOST_BANS)
      return bansPartWith(total, bans)
    },
  })

/** What cannot be listened on; undefined for another error. */
function listenErrorOf(
  error: unknown,
  { loaded: { settings }, sockets }: Serving,
): Pick<ListenError, 'setting' | 'code' | 'address' | 'port'> | undefined {
  if (error instanceof StartFailure) return error.failure.listening
  if (error instanceof ListenError) return error
  const { code, syscall, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number }
  if (syscall === undefined) return undefined
  const isPassed = sockets?.admin !== undefined && (address === undefined || address !== settings.adminListen.socket)
  return { setting: isPassed ? 'LISTEN_FDS' : 'SPILLWAY_ADMIN_LISTEN', code, address, port }
}

/** Resolves with the exit code when the program should end. */
export async function runParent(serving: Serving, workers: number): Promise<number> {
  const { loaded, early, sockets } = serving
  const { logLevel: level, logFormat: format } = loaded.settings
  const log = createLog({ level, format, destination: 1, worker: 'parent' })
  const unused = sockets === undefined ? [] : unusedFor(sockets, loaded)
  for (const warning of [...loaded.warnings, ...unused]) log.warn({}, warning)
  let parent: Parent
  try {
    parent = new Parent(serving, workers, log)
    // It is not waited for until all serve before they are stopped: one may hang.
    await Promise.race([parent.start(), early.asked])
  } catch (error) {
    const failed = listenErrorOf(error, serving)
    const where = failed === undefined ? {} : await listenFailure(failed, loaded.settings)
    log.error({ err: messageOf(error), ...where }, 'cannot start')
    log.flush()
    return 1
  }
  return untilStopped(parent, log, early)
}
