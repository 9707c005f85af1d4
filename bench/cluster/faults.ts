// How long clients wait for the first reply while Redis is frozen or killed in the middle of a flood.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Prometheus } from '../../test/services/prometheus.ts'
import type { RedisServer } from '../../test/services/redis.ts'
import { judged } from '../measure.ts'
import type { Load, Spillway } from '../processes.ts'
import type { Forwarder } from './forwarder.ts'
import { MANY, type Row } from './rows.ts'
import { count, freshWindow, letIn, MINUTE } from './windows.ts'

/**
 * The flood under which Redis is frozen, killed and restarted. Every connection is one to tell Redis of, until the limit is reached.
 */
export const FAULTS = { limit: 9_000, perSecond: 500, seconds: 25 }
/** When each step happens, in seconds from the start of the flood. */
const TIMES = { measured: 2, frozen: 6, thawed: 8.5, killed: 12, restarted: 14.5, slow: 18, quick: 20.5 }
/** How late everything is on its way to Redis and back, while it is slow. */
const SLOW_MS = 100
/**
 * The flood goes to the node, and as much of it to a node without Redis: its latest reply shows what the machine, the clients and
 * the program itself take. With half as many samples the latest would be earlier.
 */
const NODES = 2
/** What two equal nodes may differ by in their latest reply, in milliseconds. */
const NOISE_MS = 10

export async function faults(
  load: Load,
  { redis, slow }: { redis: RedisServer; slow: Forwarder },
  { node, prefix, plain }: { node: Spillway; prefix: string; plain: Spillway },
  prometheus: Prometheus,
): Promise<Row[]> {
  const { limit, perSecond, seconds } = FAULTS
  await freshWindow(MINUTE, seconds * 1000 + 5_000)
  const all = perSecond * NODES
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
  const told = async (result: string) =>
    (await node.counters()).get(`spillway_redis_commands_total{use="add",result="${result}"}`) ?? Number.NaN
  const disturb = async () => {
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
    await until(TIMES.slow)
    const slowed = Date.now()
    slow.slow(SLOW_MS)
    await until(TIMES.quick)
    slow.slow(0)
    return { frozen, killed, afterFreeze, afterKill, thawed, restarted, slowed, quick: Date.now() }
  }
  const [{ visits }, when] = await Promise.all([
    load.order({
      kind: 'arrivals',
      ports: [node.port, plain.port],
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
    const [sorted, control] = [waits(node.port, span), waits(plain.port, span)]
    const ms = (value: number) => value.toFixed(1)
    return `${sorted.length} connections: half ${ms(at(sorted, 0.5))} ms, 99.9 % ${ms(at(sorted, 0.999))} ms; without Redis half ${ms(at(control, 0.5))} ms, 99.9 % ${ms(at(control, 0.999))} ms, latest ${ms(at(control, 1))} ms`
  }
  const latest = (port: number, span: readonly [number, number]) => at(waits(port, span), 1)
  const phase = (name: string, span: readonly [number, number]): Row => [
    `${name}: latest reply, beyond that of a node without Redis`,
    judged(latest(node.port, span) - latest(plain.port, span), { atMost: NOISE_MS }, 1, ' ms'),
    spread(span),
  ]
  const results = ['ok', 'timeout', 'failed']
  const asked = await Promise.all(results.map(async (result) => `${await told(result)} ${result}`))
  return [
    phase(`${perSecond} connections a second`, calm),
    phase('Redis frozen for 2.5 s (SIGSTOP), and thawed', [when.frozen - early, when.thawed + 3_000]),
    phase('Redis killed for 2.5 s (SIGKILL), and restarted', [when.killed - early, when.restarted + 3_000]),
    phase(`Redis ${2 * SLOW_MS} ms slow for 2.5 s`, [when.slowed - early, when.quick + 1_000]),
    [
      'connections that never got a reply',
      judged(silent, { atMost: 0 }, 0),
      `of ${ours.length}; commands to Redis: ${asked.join(', ')}`,
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
