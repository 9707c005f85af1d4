// What relaying costs: CPU time per message of 4 KB, with one connection per message, against Postfix's smtpd with
// smtpd_proxy_filter; and how fast one message of 50 MB passes, against a bare Node pipe. All send to the same sink.
//
//     npm run build && npm run bench:relay [-- --profile DIR]

import { setTimeout as sleep } from 'node:timers/promises'
import { startPostfix } from '../test/services/postfix.ts'
import { startRedis } from '../test/services/redis.ts'
import { startSink } from '../test/services/sink.ts'
import { startNameServer } from './dns.ts'
import type { Sources } from './load.ts'
import { alternate, cpuMs, judged, median, ratio, table } from './measure.ts'
import {
  atEnd,
  benchmark,
  type Contender,
  need,
  rounds,
  type Spillway,
  startBare,
  startLoad,
  startSpillway,
} from './processes.ts'
import { drawn, RELAYED, read, STRANGERS, type Turn, turn, WIDE_LIMITS } from './turn.ts'

const LARGE = 50_000_000
/** After the last client has gone, the server still has to close connections. */
const SETTLE_MS = 200

const GOAL_PROXY_FILTER = 0.9
const GOAL_SHARED = 1
const GOAL_PIPE = 0.5

const REGULARS: Sources = { first: '127.64.0.1', count: 256 }

await benchmark(async () => {
  need({ postfix: true })
  const sink = await startSink()
  atEnd(() => sink.stop())
  const names = await startNameServer()
  atEnd(() => names.stop())
  const postfix = await startPostfix({
    recipients: ['anna@example.test'],
    listeners: [{ kind: 'proxy-filter', filter: `127.0.0.1:${sink.port}` }],
  })
  atEnd(() => postfix.stop())
  // The real Postfix behind Spillway discards what it accepts, so that it does not keep the machine busy.
  const cluster = await startPostfix({
    recipients: ['anna@example.test'],
    listeners: [{ kind: 'xclient' }, { kind: 'haproxy' }],
    params: { virtual_transport: 'discard' },
  })
  atEnd(() => cluster.stop())

  // All limits are on, and high enough that nobody exceeds one.
  const common = {
    ...WIDE_LIMITS,
    DENY: '192.0.2.0/24',
    RCPT_DOMAINS: 'example.test',
    UPSTREAM_MAX_CONNECTIONS: 100,
    DNS_SERVERS: `127.0.0.1:${names.port}`,
  }
  // smtp-sink accepts mail for everybody, as an open relay would, so the guard would not use it.
  const toSink = { ...common, UPSTREAMS: `127.0.0.1:${sink.port}`, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' }
  const toCluster = (kind: 'xclient' | 'haproxy') => ({ ...common, UPSTREAMS: `127.0.0.1:${cluster.port(kind)}` })
  const none = await startSpillway(toSink)
  const redis = await startRedis()
  atEnd(() => redis.stop())
  const shared = await startSpillway({ ...toSink, REDIS_URL: `redis://127.0.0.1:${redis.port}` })
  const xclient = await startSpillway({ ...toCluster('xclient'), UPSTREAM_CLIENT_IP: 'xclient' })
  const proxy = await startSpillway({ ...toCluster('haproxy'), UPSTREAM_CLIENT_IP: 'proxy-v2' })
  const filter: Contender = { port: postfix.port(), pids: postfix.pids, cpuMs: () => cpuMs(postfix.pids()) }
  const load = startLoad()

  const relaying = (server: Contender, next: () => Sources) => () => turn(load, server, { ...RELAYED, sources: next() })
  const strangers = drawn(STRANGERS, RELAYED.count)
  const regulars = drawn(REGULARS, RELAYED.count)
  const small = await alternate(
    {
      filter: relaying(filter, strangers),
      none: relaying(none, strangers),
      shared: relaying(shared, strangers),
      proxy: relaying(proxy, strangers),
      xclient: relaying(xclient, strangers),
      cached: relaying(xclient, regulars),
    },
    rounds(),
  )
  const us = (turns: readonly Turn[]) => turns.map((each) => each.us)
  const row = (name: string, turns: readonly Turn[], goal?: number) => {
    const compared = ratio(us(turns), us(small.filter))
    return [
      name,
      `${median(us(turns)).toFixed(0)} µs`,
      goal === undefined ? compared.toFixed(2) : judged(compared, { atMost: goal }),
      read(turns, '250'),
    ]
  }
  console.log(
    table(
      ['4 KB messages', 'CPU per message', 'to smtpd_proxy_filter', 'accepted'],
      [
        row('Postfix smtpd, `smtpd_proxy_filter`, to a sink', small.filter),
        row('Spillway, `none`, to a sink', small.none, GOAL_PROXY_FILTER),
        row('Spillway, `none`, to a sink; all limits in Redis', small.shared, GOAL_SHARED),
        row('Spillway, `proxy-v2`, to Postfix', small.proxy),
        row('Spillway, `xclient`, to Postfix; each client new, two DNS queries', small.xclient),
        row('Spillway, `xclient`, to Postfix; 256 clients, names in memory', small.cached),
      ],
    ),
  )

  const pipe = await startBare('pipe', sink.port)
  const large = (server: Contender) => async () => {
    const before = server.cpuMs()
    const order = {
      kind: 'messages',
      port: server.port,
      sources: REGULARS,
      count: 1,
      concurrency: 1,
      size: LARGE,
    } as const
    const { codes, ms } = await load.order(order)
    if (codes['250'] !== 1) throw new Error(`a message of 50 MB was not accepted: ${JSON.stringify(codes)}`)
    await sleep(SETTLE_MS)
    return { perSecond: LARGE / 1e3 / ms, perCpuSecond: LARGE / 1e3 / (server.cpuMs() - before) }
  }
  const direct = { port: sink.port, pids: sink.pids, cpuMs: () => cpuMs(sink.pids()) }
  const speeds = await alternate({ direct: large(direct), pipe: large(pipe), none: large(none) }, rounds())
  const wall = (name: keyof typeof speeds) => speeds[name].map(({ perSecond }) => perSecond)
  const cpu = (name: keyof typeof speeds) => speeds[name].map(({ perCpuSecond }) => perCpuSecond)
  const rate = (values: readonly number[]) => `${median(values).toFixed(0)} MB`
  console.log(
    `\n${table(
      ['one message of 50 MB', 'a second', 'to the pipe', 'a CPU second', 'to the pipe'],
      [
        ['bare Node pipe', rate(wall('pipe')), '1.00', rate(cpu('pipe')), '1.00'],
        [
          'Spillway, `none`',
          rate(wall('none')),
          judged(ratio(wall('none'), wall('pipe')), { atLeast: GOAL_PIPE }),
          rate(cpu('none')),
          ratio(cpu('none'), cpu('pipe')).toFixed(2),
        ],
        ['the sink itself', rate(wall('direct')), ratio(wall('direct'), wall('pipe')).toFixed(2), '', ''],
      ],
    )}`,
  )
  console.log(
    `\nRefusals by Spillway: ${(await Promise.all([none, shared, proxy, xclient].map(refusals))).join(', ')}.`,
  )
  console.log(`Queries that the name server answered: ${names.answered()}.`)
})

async function refusals(spillway: Spillway): Promise<number> {
  return (await spillway.counters()).get('spillway_refusals_total') ?? Number.NaN
}
