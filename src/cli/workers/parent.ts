/**
 * `spillway serve` with several workers. The parent holds no client: it starts the workers and replaces them, serves the
 * admin port for all of them, and reads the settings again. So there is little in it that could fail.
 */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { Admin } from '../../admin/http.ts'
import { operatorOf } from '../../admin/operator.ts'
import type { ListenError } from '../../app.ts'
import { Reloader } from '../../build/reload.ts'
import type { Loaded } from '../../config/load.ts'
import { readingWith } from '../../config/reload.ts'
import { SYSTEM_CLOCK } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import { nodeName, nodeNumber } from '../../core/id.ts'
import { createLog, type LevelledLog } from '../../telemetry/log.ts'
import { countedOf, snapshotOf, together } from '../../telemetry/together.ts'
import { createWorkerMetrics, type WorkerMetrics } from '../../telemetry/worker-metrics.ts'
import { adviceOn } from '../listen-advice.ts'
import { reread } from '../reread.ts'
import { type Serving, type Stoppable, untilStopped } from '../signals.ts'
import { takeOver } from '../take-over.ts'
import { Crew } from './crew.ts'
import { StartFailure } from './hand.ts'
import { statusOf } from './status.ts'

interface Parent extends Stoppable {
  /** Resolves when all workers serve. */
  start(): Promise<void>
}

function buildParent(serving: Serving, workers: number, log: LevelledLog): Parent {
  const { loaded, sources, version, sockets, takesOver } = serving
  const reading = readingWith(loaded, (path) => readFileSync(path, 'utf8'))
  const { settings } = reading
  const machine = hostname()
  const metrics = createWorkerMetrics(Array.from({ length: workers }, (_, i) => String(i + 1)))
  const crew = new Crew({
    ...{ reading, version, machine, metrics, log, of: workers, sockets: sockets?.mail ?? [] },
    listenIsDefault: loaded.origins.listen === 'default',
    number: nodeNumber(nodeName(machine, settings.listen)),
  })
  const reloader = new Reloader({
    ...{ reading, metrics, log, certificates: undefined },
    apply: async (next) => {
      await crew.apply(next)
      log.setLevel(next.settings.logLevel)
    },
    reread: () => reread(sources),
  })
  const startedAt = SYSTEM_CLOCK.elapsed()
  let draining = false
  const status = async () => {
    const uptimeSeconds = Math.round((SYSTEM_CLOCK.elapsed() - startedAt) / 1000)
    const own = { version, node: settings.hostname, uptimeSeconds, draining, settings: reloader.state() }
    return statusOf(own, (await crew.ask(false)).workers)
  }
  const reload = (by: string) => reloader.reload(by)
  const { promise: handedOver, resolve } = Promise.withResolvers<void>()
  const handOver = (): void => {
    admin.release()
    resolve()
  }
  const admin = new Admin({
    ...operatorOf(settings, log),
    ...{ status, reload, handOver, metrics: () => page(crew, metrics) },
    failed: (error) => log.error({ err: error.message }, 'a listening socket failed'),
  })
  const over = (): void => {
    admin.close()
    log.info({}, 'stopped')
    log.flush()
  }
  return {
    ...{ reload, handedOver },
    async start() {
      const listen = async () => {
        const at = await admin.listen(sockets?.admin === undefined ? settings.adminListen : { fd: sockets.admin })
        log.info({ ...at }, 'listening for the operator')
      }
      // One that is to take over must serve before the other one stops.
      if (!takesOver) await listen()
      try {
        await crew.start()
        if (takesOver) {
          await takeOver(settings, log)
          await listen()
        }
      } catch (error) {
        admin.close()
        await crew.abort()
        throw error
      }
      log.info({ workers }, 'all workers serve')
    },
    async stop() {
      draining = true
      const wasWell = await crew.stop()
      over()
      if (!wasWell) throw new Error('a worker did not end well')
    },
    async abort() {
      draining = true
      await crew.abort()
      over()
    },
  }
}

async function page(crew: Crew, metrics: WorkerMetrics): Promise<{ readonly type: string; readonly text: string }> {
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

/** What cannot be listened on, and what to do about it; empty for another error. */
function whereOf(error: unknown, { settings }: Loaded): Record<string, unknown> {
  const known = error instanceof StartFailure ? error.failure.listening : adminError(error)
  return known === undefined ? {} : { setting: known.setting, advice: adviceOn(known, settings) }
}

function adminError(error: unknown): Pick<ListenError, 'setting' | 'code' | 'address'> | undefined {
  const { code, syscall, address } = error as NodeJS.ErrnoException & { address?: string }
  return syscall === undefined ? undefined : { setting: 'SPILLWAY_ADMIN_LISTEN', code, address }
}

/** Resolves with the exit code when the program should end. */
export async function runParent(serving: Serving, workers: number): Promise<number> {
  const { loaded, wasHungUp } = serving
  const log = createLog({ level: loaded.settings.logLevel, destination: 1, worker: 'parent' })
  for (const warning of loaded.warnings) log.warn({}, warning)
  const parent = buildParent(serving, workers, log)
  try {
    await parent.start()
  } catch (error) {
    log.error({ err: messageOf(error), ...whereOf(error, loaded) }, 'cannot start')
    log.flush()
    return 1
  }
  return untilStopped(parent, log, wasHungUp)
}
