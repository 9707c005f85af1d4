// What it costs to relay: CPU time per message of 4 KB, one connection a message, against Postfix's smtpd with
// smtpd_proxy_filter; and how fast one message of 50 MB passes, against a bare Node pipe. All to the same sink.
//
//     npm run build && npm run bench:relay [-- --profile DIR]

import { setTimeout as sleep } from 'node:timers/promises'
import { startPostfix } from '../test/services/postfix.ts'
import { startSink } from '../test/services/sink.ts'
import { startNameServer } from './dns.ts'
import type { Sources, Tally } from './load.ts'
import { addressAt, alternate, cpuMs, judged, median, ratio, table } from './measure.ts'
import {
  atEnd,
  benchmark,
  type Contender,
  need,
  type Spillway,
  startBare,
  startLoad,
  startSpillway,
} from './processes.ts'

const MESSAGES = 1_000
const CONCURRENCY = 50
const SIZE = 4_096
const LARGE = 50_000_000
/** When the last client has gone, the server still has closes to deal with. */
const SETTLE_MS = 200

const GOAL_PROXY_FILTER = 0.9
const GOAL_PIPE = 0.5

/** More than there are messages in all rounds: every connection comes from an address that was never seen before. */
const STRANGERS: Sources = { first: '127.32.0.1', count: 200_000 }
const REGULARS: Sources = { first: '127.64.0.1', count: 256 }

interface Result {
  /** CPU time per message, in µs. */
  readonly us: number
  readonly tally: Tally
}

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
  // The real Postfix behind Spillway: what it takes it throws away, so that it does not keep the machine busy.
  const cluster = await startPostfix({
    recipients: ['anna@example.test'],
    listeners: [{ kind: 'xclient' }, { kind: 'haproxy' }],
    params: { virtual_transport: 'discard' },
  })
  atEnd(() => cluster.stop())

  // Limits are on, and wide enough that nobody is over one.
  const common = {
    LIMIT_IP_CONNECTIONS: '100000/1m',
    LIMIT_NET_CONNECTIONS: '100000/1m',
    LIMIT_GLOBAL_CONNECTIONS: '1000000/1m',
    LIMIT_IP_MESSAGES: '100000/1m',
    LIMIT_GLOBAL_MESSAGES: '1000000/1m',
    LIMIT_IP_RECIPIENTS: '100000/1m',
    DENY: '192.0.2.0/24',
    RCPT_DOMAINS: 'example.test',
    UPSTREAM_MAX_CONNECTIONS: 100,
    DNS_SERVERS: `127.0.0.1:${names.port}`,
  }
  // smtp-sink takes mail for everybody, as an open relay would: the guard would not use it.
  const toSink = { ...common, UPSTREAMS: `127.0.0.1:${sink.port}`, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' }
  const toCluster = (kind: 'xclient' | 'haproxy') => ({ ...common, UPSTREAMS: `127.0.0.1:${cluster.port(kind)}` })
  const none = await startSpillway(toSink)
  const xclient = await startSpillway({ ...toCluster('xclient'), UPSTREAM_CLIENT_IP: 'xclient' })
  const proxy = await startSpillway({ ...toCluster('haproxy'), UPSTREAM_CLIENT_IP: 'proxy-v2' })
  const filter: Contender = { port: postfix.port(), pids: postfix.pids, cpuMs: () => cpuMs(postfix.pids()) }
  const load = startLoad()

  const turn = (server: Contender, pool: Sources) => {
    let used = 0
    return async (): Promise<Result> => {
      const sources = { first: addressAt(pool.first, used % pool.count), count: Math.min(MESSAGES, pool.count) }
      used += sources.count
      const before = server.cpuMs()
      const tally = await load.order({
        kind: 'messages',
        port: server.port,
        sources,
        count: MESSAGES,
        concurrency: CONCURRENCY,
        size: SIZE,
      })
      await sleep(SETTLE_MS)
      return { us: ((server.cpuMs() - before) * 1000) / MESSAGES, tally }
    }
  }
  const small = await alternate({
    filter: turn(filter, STRANGERS),
    none: turn(none, STRANGERS),
    proxy: turn(proxy, STRANGERS),
    xclient: turn(xclient, STRANGERS),
    cached: turn(xclient, REGULARS),
  })
  const us = (results: readonly Result[]) => results.map((result) => result.us)
  const taken = (results: readonly Result[]) => {
    const [whole, all] = [
      results.reduce((sum, { tally }) => sum + (tally.codes['250'] ?? 0), 0),
      results.length * MESSAGES,
    ]
    return `${((100 * whole) / all).toFixed(whole === all ? 0 : 2)} %`
  }
  const row = (name: string, results: readonly Result[], goal = false) => {
    const compared = ratio(us(results), us(small.filter))
    return [
      name,
      `${median(us(results)).toFixed(0)} µs`,
      goal ? judged(compared, { atMost: GOAL_PROXY_FILTER }) : compared.toFixed(2),
      taken(results),
    ]
  }
  console.log(
    table(
      ['4 KB messages', 'CPU per message', 'to smtpd_proxy_filter', 'taken'],
      [
        row('Postfix smtpd, `smtpd_proxy_filter`, to a sink', small.filter),
        row('Spillway, `none`, to a sink', small.none, true),
        row('Spillway, `proxy-v2`, to Postfix', small.proxy),
        row('Spillway, `xclient`, to Postfix; each client new, two DNS questions', small.xclient),
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
    if (codes['250'] !== 1) throw new Error(`a message of 50 MB was not taken: ${JSON.stringify(codes)}`)
    await sleep(SETTLE_MS)
    return { perSecond: LARGE / 1e3 / ms, perCpuSecond: LARGE / 1e3 / (server.cpuMs() - before) }
  }
  const direct = { port: sink.port, pids: sink.pids, cpuMs: () => cpuMs(sink.pids()) }
  const speeds = await alternate({ direct: large(direct), pipe: large(pipe), none: large(none) })
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
  console.log(`\nRefusals by Spillway: ${(await Promise.all([none, proxy, xclient].map(refusals))).join(', ')}.`)
  console.log(`Questions the name server answered: ${names.answered()}.`)
})

async function refusals(spillway: Spillway): Promise<number> {
  return (await spillway.counters()).get('spillway_refusals_total') ?? Number.NaN
}
