/** Builds the overload level: where its samples come from, and which settings it obeys. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Clock } from '../core/clock.ts'
import { GLOBAL_LIMITS } from '../core/limits.ts'
import { CAME, type OverloadMode, type PressureReport } from '../core/overload.ts'
import { recordOf } from '../core/record.ts'
import { type LoopDelay, watchLoop } from '../overload/event-loop.ts'
import { Guesses } from '../overload/guesses.ts'
import { memoryLimit, memoryShare, type ReadText } from '../overload/memory.ts'
import { Overload, type OverloadSettings } from '../overload/overload.ts'
import { Pin } from '../overload/pin.ts'
import type { Sample } from '../overload/pressure.ts'
import { PressureUrl } from '../overload/pressure-url.ts'
import { ReportedPressure } from '../overload/reported.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import type { Limits } from '../state/limits.ts'
import type { Returns } from '../state/returns.ts'
import type { Seats } from '../state/seats.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { BuiltPolicy } from './policy.ts'

export interface OverloadParts {
  /** That in force. */
  readonly policy: () => Pick<BuiltPolicy, 'settings' | 'mode'>
  readonly upstreams: Pick<Upstreams, 'slots'>
  readonly seats: Pick<Seats, 'ofNets'>
  readonly limits: Pick<Limits, 'utilization'>
  /** Processes that share the memory of the machine or the container. */
  readonly processes: number
  readonly returns: Returns
  readonly metrics: Pick<Metrics, 'rationedMessages' | 'pressureAsked'>
  readonly clock: Clock
  readonly log: Log
}

export interface BuiltOverload {
  readonly overload: Overload
  readonly guesses: Guesses
  /** What the operator has pinned for a while. */
  readonly pin: Pin
  /** Somebody outside says how hard pressed a mail server is. */
  reported(report: PressureReport): void
  start(): void
  stop(): void
}

/** A limit on memory may be changed while the program runs; it is read again at intervals. */
const LIMIT_EVERY_MS = 30_000

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** The kernel's files are in memory: reading one takes some microseconds and waits for nothing. */
function memorySampler({ processes, clock }: Pick<OverloadParts, 'processes' | 'clock'>): () => number {
  let limit = 0
  let readAt = Number.NEGATIVE_INFINITY
  return () => {
    const now = clock.elapsed()
    if (now - readAt >= LIMIT_EVERY_MS) {
      limit = memoryLimit(readText, processes)
      readAt = now
    }
    return memoryShare(readText, limit)
  }
}

const settingsOf = (policy: OverloadParts['policy'], pin: Pin): OverloadSettings => ({
  get mode() {
    return pin.mode ?? (policy().settings.overload as OverloadMode)
  },
  get latencyMs() {
    return policy().settings.overloadUpstreamLatency
  },
  get loopMs() {
    return policy().settings.overloadEventLoop
  },
  get reserve() {
    return policy().settings.overloadKnownReserve
  },
  get maxConnections() {
    return policy().settings.maxConnections
  },
  get isEnforced() {
    return policy().mode('overload') === 'enforce'
  },
})

const pressureUrlOf = ({ policy, metrics, clock, log }: OverloadParts, reported: ReportedPressure): PressureUrl =>
  new PressureUrl({
    settings() {
      const { upstreamPressureUrl: url, upstreams } = policy().settings
      return { url, upstreams: upstreams.map(({ label }) => label) }
    },
    take: (report) => reported.take(report),
    asked: { ok: metrics.pressureAsked.of('ok'), failed: metrics.pressureAsked.of('failed') },
    log,
    elapsed: () => clock.elapsed(),
  })

export function buildOverload(parts: OverloadParts): BuiltOverload {
  const { policy, upstreams, seats, limits, returns, metrics, clock, log } = parts
  const memory = memorySampler(parts)
  const reported = new ReportedPressure(clock, log)
  const pressureUrl = pressureUrlOf(parts, reported)
  let loop: LoopDelay | undefined
  const sample = (lateMs: number): Sample => ({
    pool: upstreams.slots.load(policy().settings.overloadUpstreamLatency),
    reported: reported.read(),
    connections: seats.ofNets(),
    maxConnections: policy().settings.maxConnections,
    loopMs: loop?.read(lateMs) ?? 0,
    memory: memory(),
    globalLimits: Math.max(...GLOBAL_LIMITS.map((limit) => limits.utilization(limit))),
  })
  const cells = recordOf(CAME, (came) => ({
    in: metrics.rationedMessages.of(came, 'let_in'),
    off: metrics.rationedMessages.of(came, 'put_off'),
  }))
  const pin = new Pin(clock, log)
  const settings = settingsOf(policy, pin)
  const guesses = new Guesses({
    returns,
    connections: () => upstreams.slots.connections,
    isOn: () => settings.mode !== 'off' && settings.mode !== 0,
    clock,
    seed: randomBytes(8),
  })
  const overload = new Overload({
    settings,
    sample,
    returns,
    isRationed: () => guesses.share < 1,
    counted(came, isIn) {
      cells[came][isIn ? 'in' : 'off'].value++
    },
    clock,
    seed: randomBytes(8),
    log,
  })
  return {
    ...{ overload, guesses, pin },
    reported: (report) => reported.take(report),
    start() {
      loop ??= watchLoop()
      pressureUrl.start()
      overload.start()
    },
    stop() {
      overload.stop()
      pressureUrl.stop()
      loop?.stop()
    },
  }
}
