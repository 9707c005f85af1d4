/** Nodes of a cluster for tests: each the shared limits of one node, with a connection, metrics and log of its own. */
import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../../src/config/redis-kinds.ts'
import type { Client } from '../../src/core/client.ts'
import { ALL_OFF, type LimitName, type Maximum, type Rate } from '../../src/core/limits.ts'
import type { Usage } from '../../src/core/usage.ts'
import { connectRedis, type RedisLink } from '../../src/state/redis.ts'
import { createSharedLimits, type SharedLimits } from '../../src/state/shared-limits.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts'
import { loadWith } from '../config/given.ts'
import { eventually } from '../support/app.ts'
import { OF_PROCESS } from '../support/of-process.ts'

export interface TestNode {
  readonly limits: SharedLimits
  readonly link: RedisLink
  readonly metrics: Metrics
  readonly sink: Log
  /** `level: message` of each line. */
  readonly log: string[]
  /** Tries once; true where every limit has let the client in. */
  tries(client: Client, stage?: 'connect' | 'rcpt'): boolean
  /** Resolves when Redis has acknowledged everything that it was to be told. */
  told(): Promise<void>
  stop(): Promise<void>
}

export interface TestNodeOptions {
  readonly rates?: Partial<Record<LimitName, Rate>>
  readonly timeoutMs?: number
  readonly maximum?: Maximum
  readonly enforced?: (limit: LimitName) => boolean
  readonly prefix?: string
  /** False: returns before it has heard of Redis. */
  readonly started?: boolean
  /** The node's own clock; that of Redis goes on as it does. */
  readonly now?: () => number
}

/** Long, so that a test seldom has to wait for the next one. */
export const WINDOW = 3_600_000

export const addressOf = (url: string): RedisAddress => {
  const { redisUrl } = loadWith({ SPILLWAY_REDIS_URL: url }).settings
  if (redisUrl === undefined) throw new Error('no Redis URL')
  return redisUrl
}

let names = 0

export async function startNode(url: string, options: TestNodeOptions = {}): Promise<TestNode> {
  const {
    rates = {},
    timeoutMs = 50,
    maximum,
    enforced = () => true,
    prefix = 'test:',
    started = true,
    now = Date.now,
  } = options
  const log: string[] = []
  const at =
    (level: string) =>
    (_: unknown, msg: string): void =>
      void log.push(`${level}: ${msg}`)
  const sink: Log = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    flush: () => undefined,
  }
  const metrics = createMetrics({ version: 'test', upstreams: [], ofProcess: OF_PROCESS })
  const link = connectRedis({ address: addressOf(url), timeoutMs, log: sink })
  const limits = createSharedLimits({
    rates: { ...ALL_OFF, ...rates },
    ...(maximum !== undefined && { maximum }),
    enforced,
    now,
    elapsed: () => performance.now(),
    seed: randomBytes(8),
    link,
    prefix,
    timeoutMs,
    node: `node-${names++}`,
    metrics,
    log: sink,
  })
  const start = limits.start()
  if (started) await start
  return {
    limits,
    link,
    metrics,
    sink,
    log,
    tries: (client, stage = 'connect') => letIn(limits.take(stage, client)),
    told: async () => void (await eventually(() => limits.isTold(), Boolean)),
    async stop() {
      await limits.stop()
      await link.close()
    },
  }
}

export const letIn = (usage: Usage): boolean => Object.values(usage).every(({ used, max }) => used <= max)

/** A client at `ip`, an IPv4 address. */
export const clientAt = (ip: string, standing: Client['standing'] = 'new'): Client => ({
  id: 'TEST',
  ip,
  port: 40_000,
  family: 4,
  source: ip,
  net: `${ip.split('.').slice(0, 3).join('.')}.0/24`,
  local: { ip: '192.0.2.25', port: 25 },
  standing,
})

let counted = 0
/** A client that no test has seen yet, in a neighbourhood of its own. */
export const freshClient = (): Client => clientAt(`10.${(counted >> 8) & 255}.${counted++ & 255}.1`)

/** Waits while a window of the wall clock is about to end, so that a test lies in one. */
export async function earlyInWindow(windowMs: number, needMs: number): Promise<void> {
  const left = windowMs - (Date.now() % windowMs)
  if (left < needMs) await new Promise((resolve) => setTimeout(resolve, left + 20))
}
