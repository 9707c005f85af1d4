/**
 * SIGTERM under load, again and again: the program is stopped while messages are at every step, some of them past their
 * dot, and started again. No message may be lost, none doubled except where the log says unknown, and each stop ends with 0.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts } from '../services/ports.ts'
import { eventually } from '../support/app.ts'
import { Program, SERVE_ENV } from '../support/program.ts'
import { type RecordingServer, startRecordingServer } from './mail-server.ts'
import { judge, Senders, unknownIn, type Verdict } from './senders.ts'

export interface Stop {
  readonly workers: number
  readonly code: number | null | 'none'
  readonly ms: number
  /** Messages past their dot at the mail server when SIGTERM was sent. */
  readonly pastDot: number
}

export interface StopsResult {
  readonly stops: readonly Stop[]
  readonly verdict: Verdict
  /** Everything that is wrong, in words; empty if nothing is. */
  readonly faults: readonly string[]
}

export interface StopsOptions {
  readonly stops: number
  /** Messages under way at once. */
  readonly atOnce?: number
  /** Told after each stop. */
  readonly progress?: (done: number) => void
}

/** The mail server's slowest dot takes 800 ms, and nobody waits for anything else. */
const LONGEST_STOP_MS = 10_000
/** Messages delivered between a start and its stop. */
const BETWEEN = 40

function start(port: number, upstream: RecordingServer, workers: number): Program {
  return new Program(['serve'], {
    env: {
      ...SERVE_ENV,
      SPILLWAY_LISTEN: `127.0.0.1:${port}`,
      SPILLWAY_UPSTREAMS: upstream.address,
      SPILLWAY_RELAY_GUARD: 'off',
      SPILLWAY_WORKERS: String(workers),
    },
  })
}

async function stopOnce(port: number, upstream: RecordingServer, workers: number): Promise<[Stop, Program]> {
  const before = upstream.taken.size
  const program = start(port, upstream, workers)
  try {
    await program.logged(workers === 1 ? 'listening for mail' : 'all workers serve')
    await eventually(
      () => upstream.taken.size - before >= BETWEEN && upstream.pastDot > 0,
      (met) => met,
    )
    const { pastDot } = upstream
    const begun = performance.now()
    program.child.kill('SIGTERM')
    const code = await Promise.race([program.exited, sleep(LONGEST_STOP_MS, 'none' as const, { ref: false })])
    return [{ workers, code, ms: Math.round(performance.now() - begun), pastDot }, program]
  } finally {
    await program.end()
  }
}

export async function runStops({ stops, atOnce = 40, progress }: StopsOptions): Promise<StopsResult> {
  const [port] = (await freePorts(1)) as [number]
  const upstream = await startRecordingServer()
  let dots = 0
  upstream.atDot = () => (dots++ % 10 === 0 ? { afterMs: 100 * (1 + (dots % 8)) } : { afterMs: 0 })
  const senders = new Senders({ port, atOnce, restMs: 50 })
  const unknown = new Set<string>()
  const done: Stop[] = []
  senders.start()
  try {
    for (let i = 0; i < stops; i++) {
      const [stop, program] = await stopOnce(port, upstream, 1 + (i % 2))
      done.push(stop)
      for (const line of program.log) {
        const name = unknownIn(line)
        if (name !== undefined) unknown.add(name)
      }
      progress?.(done.length)
    }
    // What was put off is delivered by the next one.
    const last = start(port, upstream, 1)
    try {
      await last.logged('listening for mail')
      await senders.stop()
    } finally {
      await last.end()
    }
  } finally {
    await upstream.stop()
  }
  const verdict = judge(senders.messages, upstream.taken, ({ name }) => unknown.has(name))
  return { stops: done, verdict, faults: faultsOf(done, verdict) }
}

function faultsOf(stops: readonly Stop[], verdict: Verdict): string[] {
  const ends = stops.flatMap(({ workers, code, ms }, i) =>
    code === 0 ? [] : [`stop ${i + 1} (${workers} workers) ended with ${code} after ${ms} ms`],
  )
  const told = (['lost', 'doubled', 'undelivered', 'bounced'] as const).flatMap((what) =>
    verdict[what].length === 0 ? [] : [`${what}: ${verdict[what].slice(0, 20).join(' ')}`],
  )
  return [...ends, ...told]
}
