// Limits that many nodes share: nodes as plain processes, one Redis, one Prometheus, one upstream, and a flood. It
// measures how exactly the limits hold, even with a node killed and another cut off; how long clients wait while Redis
// is frozen or gone; what a refusal and a message cost with all limits in Redis; and whether Prometheus saw what the
// clients counted.
//
//     npm run build && npm run bench:cluster [-- --rounds N --profile DIR --only pair|trio|faults|refusals|relaying]

import { setTimeout as sleep } from 'node:timers/promises'
import { startPrometheus } from '../test/services/prometheus.ts'
import { startRedis } from '../test/services/redis.ts'
import { startSink } from '../test/services/sink.ts'
import { RELAYING, refusals, relaying } from './cluster/costs.ts'
import { FAULTS, faults } from './cluster/faults.ts'
import { startForwarder } from './cluster/forwarder.ts'
import { pair, SHARED, TRIO, trio } from './cluster/limits.ts'
import { REDIS_TIMEOUT_MS, type Row, type Start } from './cluster/rows.ts'
import { progress, table } from './measure.ts'
import { atEnd, benchmark, need, option, rounds, type Spillway, startLoad, startSpillway } from './processes.ts'

/** What every node is started with. */
const SINGLE = (sinkPort: number) => ({
  UPSTREAMS: `127.0.0.1:${sinkPort}`,
  UPSTREAM_CLIENT_IP: 'none',
  RELAY_GUARD: 'off', // smtp-sink accepts mail for everybody, as an open relay would.
})
/** Nodes announce themselves every two seconds. */
const SEEN_MS = 2_500

await benchmark(async () => {
  need({ postfix: true })
  const redis = await startRedis()
  atEnd(() => redis.stop())
  const sink = await startSink()
  atEnd(() => sink.stop())
  const start: Start = (group, settings, redisPort = redis.port) =>
    startSpillway({
      ...SINGLE(sink.port),
      REDIS_URL: `redis://127.0.0.1:${redisPort}`,
      REDIS_PREFIX: `${group}:`,
      REDIS_TIMEOUT: `${REDIS_TIMEOUT_MS}ms`,
      ...settings,
    })
  const forwarder = await startForwarder(redis.port)
  atEnd(() => forwarder.cut())
  const global = (limit: string) => ({ LIMIT_GLOBAL_CONNECTIONS: limit })
  const shared = global(`${SHARED.limit}/1m`)
  /** Returns when each of them has seen all of them. */
  const begin = async (group: string, count: number): Promise<readonly Spillway[]> => {
    const nodes = await Promise.all(Array.from({ length: count }, () => start(group, shared)))
    await sleep(SEEN_MS)
    return nodes
  }
  const pairs = await begin('pair', 2)
  const ofTrio = global(`${TRIO.limit}/${TRIO.windowMs / 1000}s`)
  const trios = [
    await start('trio', ofTrio),
    await start('trio', ofTrio),
    await start('trio', ofTrio, forwarder.port),
  ] as const
  const slow = await startForwarder(redis.port)
  atEnd(() => slow.cut())
  const lone = await start('lone', global(`${FAULTS.limit}/1m`), slow.port)
  const plain = await startSpillway({ ...SINGLE(sink.port), ...global(`${FAULTS.limit}/1m`) })
  const targets = (nodes: readonly Spillway[]) => nodes.map(({ admin }) => `127.0.0.1:${admin}`)
  const prometheus = await startPrometheus({
    jobs: { pair: targets(pairs), trio: targets(trios), lone: targets([lone]) },
    intervalMs: 1_000,
  })
  atEnd(() => prometheus.stop())
  const load = startLoad()
  const rows: Row[] = []
  const only = option('only')
  const part = async (name: string, run: () => Promise<readonly Row[]>) => {
    if (only !== undefined && only !== name) return
    progress(name)
    rows.push(...(await run()))
  }
  await part('pair', () => pair(load, pairs, prometheus, begin))
  await part('trio', async () => [await trio(load, trios, forwarder.cut)])
  await part('faults', () => faults(load, { redis, slow }, { node: lone, prefix: 'lone:', plain }, prometheus))
  // The parts below measure CPU time, so nothing else should use any.
  await Promise.all([...pairs, ...trios, lone, plain].map((node) => node.stop()))
  await prometheus.stop()
  await part('refusals', () => refusals(load, redis, start, rounds()))
  const alone = () => startSpillway({ ...SINGLE(sink.port), ...RELAYING })
  await part('relaying', () => relaying(load, sink.port, start, alone, rounds()))
  progress('')
  console.log(table(['limits that nodes share', 'figure', 'beside it'], rows))
})
