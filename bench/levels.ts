// What a stranger costs while the cluster cannot take everybody: at level 4, where it is refused at the banner, against a bare Node
// server that writes a line of the same length and closes; and at level 3, where nearly all of them are put off at RCPT, against a
// message of 4 KB that is relayed. Every connection comes from a new address, and everything that can be shared is shared over Redis.
//
//     npm run build && npm run bench:levels [-- --profile DIR]

import { startRedis } from '../test/services/redis.ts'
import { startSink } from '../test/services/sink.ts'
import { alternate, judged, median, ratio, table } from './measure.ts'
import { atEnd, benchmark, need, rounds, type Spillway, startBare, startLoad, startSpillway } from './processes.ts'
import { drawn, RELAYED, read, STRANGERS, type Turn, turn, WIDE_LIMITS } from './turn.ts'

const GOAL_BANNER = 1.35
const GOAL_RCPT = 0.6
/** Connections that are refused at the banner in one turn, how many at a time, and how many before anything is measured. */
const REFUSED = { kind: 'visits', count: 5_000, concurrency: 64 } as const
const WARM_UP = 20_000
/** The uses of Redis that could be part of a session. The others run in the background, whoever comes. */
const BY_CLIENTS = ['add', 'history', 'returns', 'known'] as const

await benchmark(async () => {
  need({ postfix: false })
  const [sink, redis] = [await startSink(), await startRedis()]
  atEnd(() => sink.stop())
  atEnd(() => redis.stop())
  const at = (level: string): Promise<Spillway> =>
    startSpillway({
      ...WIDE_LIMITS,
      UPSTREAMS: `127.0.0.1:${sink.port}`,
      UPSTREAM_CLIENT_IP: 'none',
      UPSTREAM_MAX_CONNECTIONS: 100,
      RELAY_GUARD: 'off', // smtp-sink accepts mail for everybody, as an open relay would.
      OVERLOAD: level,
      REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    })
  const [survival, shedding, off] = [await at('4'), await at('3'), await at('off')]
  const load = startLoad()
  const strangers = drawn(STRANGERS, REFUSED.count)
  const probe = await load.order({ ...REFUSED, count: 500, port: survival.port, sources: strangers() })
  const bare = await startBare('refuse', Math.round(probe.octets / 500))
  for (const { port } of [survival, bare]) {
    await load.order({ ...REFUSED, count: WARM_UP, port, sources: strangers() })
  }

  const before = await Promise.all([survival, shedding].map(commands))
  const results = await alternate(
    {
      banner: () => turn(load, survival, { ...REFUSED, sources: strangers() }),
      bare: () => turn(load, bare, { ...REFUSED, sources: strangers() }),
      rcpt: () => turn(load, shedding, { ...RELAYED, sources: strangers() }),
      relayed: () => turn(load, off, { ...RELAYED, sources: strangers() }),
    },
    rounds(),
  )
  const after = await Promise.all([survival, shedding].map(commands))
  const us = (turns: readonly Turn[]) => turns.map((each) => each.us)
  const micro = (turns: readonly Turn[]) => `${median(us(turns)).toFixed(1)} µs`
  const row = (
    name: string,
    ours: readonly Turn[],
    theirs: readonly Turn[],
    goal: number,
    code: string,
    asked: number,
  ) => [
    name,
    micro(ours),
    micro(theirs),
    judged(ratio(us(ours), us(theirs)), { atMost: goal }),
    read(ours, code),
    asked.toFixed(4),
  ]
  const asked = (index: number, connections: number): number =>
    ((after[index] ?? Number.NaN) - (before[index] ?? Number.NaN)) / (connections * rounds())
  console.log(
    table(
      ['a stranger', 'Spillway', 'compared with', 'ratio', 'refused', 'commands to Redis for each'],
      [
        row(
          'at level 4, 421 at the banner, to bare Node',
          results.banner,
          results.bare,
          GOAL_BANNER,
          '421',
          asked(0, REFUSED.count),
        ),
        row(
          'at level 3, 451 at RCPT, to a relayed message',
          results.rcpt,
          results.relayed,
          GOAL_RCPT,
          '451',
          asked(1, RELAYED.count),
        ),
      ],
    ),
  )
})

/** How many commands to Redis this node has sent that clients may have caused. */
async function commands(spillway: Spillway): Promise<number> {
  const counters = await spillway.counters()
  let sum = 0
  for (const [series, value] of counters) {
    if (
      series.startsWith('spillway_redis_commands_total{') &&
      BY_CLIENTS.some((use) => series.includes(`use="${use}"`))
    )
      sum += value
  }
  return sum
}
