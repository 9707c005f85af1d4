// How long clients wait for the first reply while Redis is frozen or killed in the middle of a flood.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Prometheus } from '../../test/services/prometheus.ts'
import type { RedisServer } from '../../test/services/redis.ts'
import { judged } from '../measure.ts'
import { type Load, type Spillway, startBare } from '../processes.ts'
import { MANY, REDIS_TIMEOUT_MS, type Row } from './rows.ts'
import { count, freshWindow, letIn, MINUTE } from './windows.ts'

/**
 * The flood under which Redis is frozen, killed and restarted. Every connection asks Redis until the limit is reached.
 */
export const FAULTS = { limit: 9_000, perSecond: 500, seconds: 23 }
/** When each step happens, in seconds from the start of the flood. */
const TIMES = { measured: 2, frozen: 6, thawed: 8.5, killed: 12, restarted: 14.5 }
/** One connection in this many goes to a bare server, to show what the machine and the clients themselves add. */
const CONTROL_EVERY = 11

export async function faults(
  load: Load,
  redis: RedisServer,
  { node, prefix }: { node: Spillway; prefix: string },
  prometheus: Prometheus,
): Promise<Row[]> {
  const bare = await startBare('refuse', 130)
  const { limit, perSecond, seconds } = FAULTS
  await freshWindow(MINUTE, seconds * 1000 + 5_000)
  const all = (perSecond * CONTROL_EVERY) / (CONTROL_EVERY - 1)
  const begin = Date.now()
  const until = (second: number) => sleep(Math.max(0, begin + second * 1000 - Date.now()))
  const charged = async () => Number(await redis.call('hget', `${prefix}l:global_connections:*`, 'c')) || 0
  /** How long after `since` the node counts in Redis again, in ms. */
  const back = async (since: number): Promise<number> => {
    const before = await charged()
    while (Date.now() - since < 10_000) {
      await sleep(100)
      const fallback = (await node.counters()).get('spillway_redis_fallback_active')
      if (fallback === 0 && (await charged()) > before) return Date.now() - since
    }
    return Number.POSITIVE_INFINITY
  }
  const takes = async (result: string) =>
    (await node.counters()).get(`spillway_redis_commands_total{use="take",result="${result}"}`) ?? Number.NaN
  const disturb = async () => {
    await until(TIMES.frozen - 0.5)
    const late = await takes('timeout')
    await until(TIMES.frozen)
    redis.freeze()
    const frozen = Date.now()
    await until(TIMES.thawed)
    const thawed = Date.now()
    redis.thaw()
    const afterFreeze = await back(thawed)
    await until(TIMES.killed)
    const killed = Date.now()
    await redis.kill()
    await until(TIMES.restarted)
    const restarted = Date.now()
    await redis.restart()
    const afterKill = await back(restarted)
    return { late, frozen, killed, afterFreeze, afterKill, thawed, restarted }
  }
  const [{ visits }, when] = await Promise.all([
    load.order({
      kind: 'arrivals',
      ports: [...Array.from({ length: CONTROL_EVERY - 1 }, () => node.port), bare.port],
      sources: MANY,
      count: Math.floor(all * seconds),
      perSecond: all,
    }),
    disturb(),
  ])
  const dips = await prometheus.query('max_over_time(spillway_redis_fallback_active{job="lone"}[40s])')
  const ours = visits.filter(({ port }) => port === node.port)
  const admitted = letIn(ours).length
  const silent = ours.length - admitted - count(ours, '421')
  // Clients that connected shortly before a fault may have waited too.
  const early = 200
  const calm = [begin + TIMES.measured * 1000, when.frozen - early] as const
  const waits = (port: number, [from, to]: readonly [number, number]) =>
    visits
      .filter((visit) => visit.port === port && visit.at >= from && visit.at < to)
      .map(({ waitedMs }) => waitedMs)
      .toSorted((a, b) => a - b)
  const at = (sorted: readonly number[], share: number) => sorted[Math.ceil(sorted.length * share) - 1] ?? Number.NaN
  const spread = (span: readonly [number, number]) => {
    const [sorted, control] = [waits(node.port, span), waits(bare.port, span)]
    const ms = (value: number) => value.toFixed(1)
    return `${sorted.length} connections: half ${ms(at(sorted, 0.5))} ms, 99.9 % ${ms(at(sorted, 0.999))} ms; the bare server's latest ${ms(at(control, 1))} ms`
  }
  const latest = (span: readonly [number, number]) => at(waits(node.port, span), 1)
  const phase = (name: string, from: number, to: number): Row => [
    `${name}: latest reply`,
    judged(latest([from - early, to]), { atMost: REDIS_TIMEOUT_MS + 50 }, 1, ' ms'),
    spread([from - early, to]),
  ]
  const results = ['ok', 'timeout', 'failed']
  const asked = await Promise.all(results.map(async (result) => `${await takes(result)} ${result}`))
  return [
    [
      `${perSecond} connections a second, each asks Redis: latest reply`,
      `${latest(calm).toFixed(1)} ms`,
      `${spread(calm)}; charges given up ${when.late}`,
    ],
    phase('Redis frozen for 2.5 s (SIGSTOP), and thawed', when.frozen, when.thawed + 3_000),
    phase('Redis killed for 2.5 s (SIGKILL), and restarted', when.killed, when.restarted + 3_000),
    [
      'connections that never got a reply',
      judged(silent, { atMost: 0 }, 0),
      `of ${ours.length}; charges in Redis: ${asked.join(', ')}`,
    ],
    [
      `let in meanwhile, one node and a limit of ${limit}/1m`,
      `${admitted}: off by ${judged((100 * Math.abs(admitted - limit)) / limit, { atMost: 20 }, 1, ' %')}`,
      `of ${ours.length} tries`,
    ],
    [
      'limits shared again after the thaw, and after the restart',
      judged(Math.max(when.afterFreeze, when.afterKill) / 1000, { atMost: 5 }, 1, ' s'),
      `${(when.afterFreeze / 1000).toFixed(1)} s, ${(when.afterKill / 1000).toFixed(1)} s; Prometheus saw the fallback: ${dips[0]?.values[0]?.[1] === 1 ? 'yes' : '**no**'}`,
    ],
  ]
}
