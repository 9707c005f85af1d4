/** One worker: a process that serves clients with an app of its own, and does what its parent says. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ListenError, type Running, start } from '../../app.ts'
import type { BanControl } from '../../build/bans.ts'
import type { Reading } from '../../config/reload.ts'
import { messageOf } from '../../core/errors.ts'
import { createLog, type LevelledLog } from '../../telemetry/log.ts'
import { snapshotOf } from '../../telemetry/together.ts'
import type { BansAnswer, BansAsked, Failure, FromWorker, Report, Start, ToWorker } from './protocol.ts'

/** What was counted since the last report is lost if the worker dies. */
const REPORT_MS = 1000
/** The share of the time that reports may take. With a hundred mail servers each takes many milliseconds. */
const REPORT_SHARE = 1 / 100
/** The parent takes one that says nothing for half a minute for dead. */
const LONGEST_PAUSE_MS = 10_000

// The parent hears of these as well, and decides. What the others would do by default, main.ts tells.
for (const signal of ['SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => undefined)

/** The parent has died before this worker served anybody. */
const giveUp = (): void => process.exit(1)

// Nobody is left to tell where the channel is broken.
const tell = (message: FromWorker): unknown =>
  process.connected && process.send?.(message, undefined, {}, () => undefined)

/** The same; resolves when the parent has room for it. */
const told = (message: FromWorker): Promise<void> =>
  new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, {}, () => resolve())
    else resolve()
  })

async function report(running: Running, withMetrics: boolean): Promise<Report> {
  const metrics = withMetrics ? await snapshotOf(running.metrics.registry) : undefined
  return { status: running.status(), ...running.underWay(), ...(metrics !== undefined && { metrics }) }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof ListenError)) return { message: messageOf(error) }
  const { message, setting, code, address, port } = error
  return { message, listening: { setting, code, address, port } }
}

async function reportForEver(running: Running): Promise<void> {
  for (;;) {
    const begun = performance.now()
    const made = await report(running, true)
    const took = performance.now() - begun
    // A parent that hangs must not make them pile up.
    await told({ kind: 'report', report: made })
    const pause = Math.min(Math.max(REPORT_MS, took / REPORT_SHARE), LONGEST_PAUSE_MS)
    await sleep(pause, undefined, { ref: false })
  }
}

async function end(code: number, log: LevelledLog, ending: Promise<void>): Promise<void> {
  const failed = (error: unknown): number => {
    log.error({ err: messageOf(error) }, 'stopping failed')
    log.flush()
    return 1
  }
  process.exit(
    await ending.then(
      () => code,
      (error: unknown) => failed(error),
    ),
  )
}

function answered(bans: BanControl, asked: BansAsked): BansAnswer {
  if (asked.what === 'all') return bans.all()
  const list = asked.of === 'bans' ? bans : bans.allowed
  switch (asked.what) {
    case 'latest':
      return list.latest(asked.limit)
    case 'add':
      return list.add(asked.ban)
    case 'remove':
      return list.remove(asked.network)
  }
}

function obey(running: Running, log: LevelledLog, take: (reading: Reading) => void): void {
  let isStopping = false
  const stop = (code: number, after: 'signal' | 'handover' = 'signal'): void => {
    const over = running.stop(after)
    if (!isStopping) void end(code, log, over)
    isStopping = true
  }
  process.on('message', async (message: ToWorker) => {
    switch (message.kind) {
      case 'ask':
        tell({ kind: 'report', id: message.id, report: await report(running, message.metrics) })
        return
      case 'reload': {
        take(message.reading)
        const reload = await running.reload?.('parent')
        if (reload !== undefined) tell({ kind: 'reloaded', id: message.id, report: reload })
        return
      }
      case 'stop':
        return stop(0, message.after)
      case 'reported':
        return running.reported(message.report)
      case 'obey':
        return running.obey(message.orders)
      case 'feedback':
        tell({ kind: 'learnt', id: message.id, report: running.feedback(message.feedback) })
        return
      case 'bans':
        tell({ kind: 'bans', id: message.id, answer: answered(running.bans, message.asked) })
        return
      case 'observed':
        tell({ kind: 'observed', id: message.id, tallied: running.tallied() })
        return
      case 'explain':
        tell({ kind: 'explained', id: message.id, answer: await running.explaining.here(message.asked) })
        return
      case 'others':
        tell({ kind: 'others', id: message.id, answer: await running.explaining.others(message.ip) })
        return
      case 'banned':
        return running.bans.take(message.made)
      case 'offended':
        return running.bans.takeOffences(message.told)
      case 'heard':
        return running.kernel.take(message.hearings)
      case 'follow':
        return running.follow()
      case 'keepTable':
        return running.keepTable()
      case 'abort':
        return end(1, log, running.abort())
    }
  })
  process.on('SIGTERM', () => stop(0))
  process.off('disconnect', giveUp)
  process.on('disconnect', () => {
    log.error({}, 'the parent is gone: this worker ends when its sessions have')
    stop(1)
  })
}

async function run(options: Start): Promise<void> {
  const { worker, of, crew, number, reading, listenIsDefault, version, machine, orders, leavesTable } = options
  process.title = `spillway worker ${worker}`
  const { logLevel: level, logFormat: format } = reading.settings
  const log = createLog({ level, format, destination: 1, worker })
  let latest = reading
  const reread = async () => ({ reading: latest })
  try {
    const running = await start({
      ...{
        reading,
        version,
        log,
        machine,
        listenIsDefault,
        reread,
        worker: { number, of, crew, isFirst: worker === 1 },
        sharesPorts: true,
      },
      ...{ orders, leavesTable },
      sockets: { mail: options.sockets, admin: undefined },
      ...(options.ticketKey !== undefined && { ticketKey: Buffer.from(options.ticketKey) }),
    })
    obey(running, log, (next) => {
      latest = next
    })
    running.bans.onMade((ban) => tell({ kind: 'banned', made: [ban] }))
    // Otherwise Redis tells them to the other workers as well.
    if (reading.settings.redisUrl === undefined) running.bans.onOffences((told) => tell({ kind: 'offended', told }))
    running.kernel.onHeard((hearings) => tell({ kind: 'heard', hearings }))
    tell({ kind: 'listening', listening: running.listening })
    void reportForEver(running)
  } catch (error) {
    log.flush()
    // The channel is flushed before the process ends.
    process.send?.({ kind: 'failed', failure: failureOf(error) } satisfies FromWorker, () => process.exit(1))
  }
}

process.once('message', (message: ToWorker) => {
  if (message.kind === 'start') void run(message)
})
process.once('disconnect', giveUp)
