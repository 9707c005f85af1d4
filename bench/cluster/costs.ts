// What a refusal costs the node and Redis with all limits in Redis, and what a message costs.

import { setTimeout as sleep } from 'node:timers/promises'
import { startPostfix } from '../../test/services/postfix.ts'
import type { RedisServer } from '../../test/services/redis.ts'
import type { Sources } from '../load.ts'
import { addressAt, alternate, cpuMs, judged, median, ratio } from '../measure.ts'
import { atEnd, type Contender, type Load, type Spillway, startBare } from '../processes.ts'
import { drawn, RELAYED, read, STRANGERS, type Turn, turn, WIDE_LIMITS } from '../turn.ts'
import { FEW, type Row, type Start } from './rows.ts'

interface Work {
  readonly commands: number
  readonly writes: number
}

/** What Redis has done: commands run, except the nodes' announcements and our own INFO; and reads from sockets. */
async function work(redis: RedisServer): Promise<Work> {
  const stats = await redis.call('info', 'stats')
  const commands = await redis.commands()
  const sum = Object.values(commands).reduce((total, calls) => total + calls, 0)
  const announced = commands.eval ?? 0
  // An announcement is one script of five commands (src/state/nodes.ts).
  return {
    commands: sum - 6 * announced - (commands.info ?? 0),
    writes: Number(/total_reads_processed:(\d+)/.exec(stats)?.[1]) - announced,
  }
}

/** The work that calling `work` causes: the difference between two calls in a row. */
async function ownWork(redis: RedisServer): Promise<Work> {
  const [first, second] = [await work(redis), await work(redis)]
  return less(second, first)
}

const less = (one: Work, other: Work): Work => ({
  commands: one.commands - other.commands,
  writes: one.writes - other.writes,
})

const REFUSED = { kind: 'visits', count: 5_000, concurrency: 64 } as const
/** Each address is in a network (/24) of its own; 127.0.0.0/8 has enough of them for twelve turns. */
const NETWORKS: Sources = { first: '127.0.0.2', count: 65_000, step: 256 }

export async function refusals(load: Load, redis: RedisServer, start: Start, rounds: number): Promise<Row[]> {
  const visit = (port: number, sources: Sources, visits: number, concurrency = 64) =>
    load.order({ kind: 'visits', port, sources, count: visits, concurrency })
  // With windows of an hour, a limit that is used up stays used up. The node called elsewhere uses it up.
  const own = await start('own', { LIMIT_IP_CONNECTIONS: '1/1h' })
  const global = { LIMIT_GLOBAL_CONNECTIONS: '1/1h' }
  const fullElsewhere = await start('full', global)
  const full = await start('full', global)
  const net = { LIMIT_NET_CONNECTIONS: '1/1h', LIMIT_GLOBAL_CONNECTIONS: '1000000/1m' }
  const askedElsewhere = await start('asked', net)
  const asked = await start('asked', net)
  await visit(own.port, FEW, FEW.count)
  await visit(fullElsewhere.port, FEW, 1)
  const probe = 200
  const length = Math.round((await visit(own.port, FEW, probe)).octets / probe)
  const bareFew = await startBare('refuse', length)
  const bareMany = await startBare('refuse', length)

  const overhead = await ownWork(redis)
  const worked: Record<string, Work[]> = {}
  const refused = (name: string, node: Contender, next: () => Sources, elsewhere?: Spillway) => async () => {
    const sources = next()
    if (elsewhere !== undefined)
      await visit(elsewhere.port, { ...sources, first: addressAt(sources.first, 1) }, REFUSED.count)
    const before = await work(redis)
    const result = await turn(load, node, { ...REFUSED, sources })
    worked[name] = [...(worked[name] ?? []), less(less(await work(redis), before), overhead)]
    return result
  }
  const strangers = drawn(STRANGERS, REFUSED.count)
  const networks = drawn(NETWORKS, REFUSED.count)
  const turns = await alternate(
    {
      own: refused('own', own, () => FEW),
      bareFew: refused('bareFew', bareFew, () => FEW),
      full: refused('full', full, strangers),
      bareMany: refused('bareMany', bareMany, strangers),
      asked: refused('asked', asked, networks, askedElsewhere),
    },
    rounds,
  )
  const us = (all: readonly Turn[]) => all.map((each) => each.us)
  const most = (name: string, what: keyof Work) => Math.max(...(worked[name] ?? []).map((each) => each[what]))
  const micro = (all: readonly Turn[]) => `${median(us(all)).toFixed(1)} µs`
  const cpu = (ours: readonly Turn[], theirs: readonly Turn[], atMost: number): Row => [
    'the same: CPU of the node, to bare Node',
    judged(ratio(us(ours), us(theirs)), { atMost }),
    `${micro(ours)} to ${micro(theirs)}; read ${read(ours, '421')}`,
  ]
  const writes = (name: string) => judged(most(name, 'writes') / REFUSED.count, { atMost: 1 }, 4)
  const single = await singly(load, redis, full, strangers, overhead)
  const abandoned = await Promise.all([asked, askedElsewhere].map((node) => givenUp(node)))
  await Promise.all([own, full, fullElsewhere, asked, askedElsewhere].map((node) => node.stop()))
  return [
    [
      `refusing ${REFUSED.count} connections of addresses over their limit: Redis commands`,
      judged(most('own', 'commands'), { atMost: 0 }, 0),
      `the most of ${rounds + 1} rounds`,
    ],
    cpu(turns.own, turns.bareFew, 1.5),
    [
      'refusing new addresses by the global limit, used up by another node: writes to Redis for each',
      writes('full'),
      `${most('full', 'commands')} commands for ${REFUSED.count}; one a second: ${single}`,
    ],
    cpu(turns.full, turns.bareMany, 2.5),
    [
      'refusing new addresses, each in a network that another node has filled, so that Redis is asked for each: writes for each',
      writes('asked'),
      `${(most('asked', 'commands') / REFUSED.count).toFixed(1)} commands for each, including those within scripts; charges given up by the node ${abandoned[0]}, by the other ${abandoned[1]}`,
    ],
    cpu(turns.asked, turns.bareMany, 2.5),
  ]
}

async function givenUp(node: Spillway): Promise<number> {
  const counters = await node.counters()
  const of = (result: string) =>
    counters.get(`spillway_redis_commands_total{use="take",result="${result}"}`) ?? Number.NaN
  return of('timeout') + of('failed')
}

/** What Redis does for refusals so far apart that it is asked for each. */
async function singly(
  load: Load,
  redis: RedisServer,
  node: Spillway,
  sources: () => Sources,
  overhead: Work,
): Promise<string> {
  const tries = 3
  const used = async () => {
    const counters = await node.counters()
    const of = (use: string) => counters.get(`spillway_redis_commands_total{use="${use}",result="ok"}`) ?? Number.NaN
    return { take: of('take'), add: of('add') }
  }
  const [before, workBefore] = [await used(), await work(redis)]
  for (let index = 0; index < tries; index++) {
    await sleep(1_500)
    await load.order({ kind: 'visits', port: node.port, sources: sources(), count: 1, concurrency: 1 })
  }
  await sleep(500)
  const [after, { writes }] = [await used(), less(less(await work(redis), workBefore), overhead)]
  const each = (number: number) => (number / tries).toFixed(1)
  return `${each(after.take - before.take)} charges and, when the client has its reply, ${each(after.add - before.add)} given back, in ${each(writes)} writes`
}

export async function relaying(load: Load, sinkPort: number, start: Start, rounds: number): Promise<Row[]> {
  const postfix = await startPostfix({
    recipients: ['anna@example.test'],
    listeners: [{ kind: 'proxy-filter', filter: `127.0.0.1:${sinkPort}` }],
  })
  atEnd(() => postfix.stop())
  const filter: Contender = { port: postfix.port(), pids: postfix.pids, cpuMs: () => cpuMs(postfix.pids()) }
  const shared = await start('relay', { ...WIDE_LIMITS, RCPT_DOMAINS: 'example.test', UPSTREAM_MAX_CONNECTIONS: '100' })
  const strangers = drawn(STRANGERS, RELAYED.count)
  const relayed = (server: Contender) => () => turn(load, server, { ...RELAYED, sources: strangers() })
  const turns = await alternate({ filter: relayed(filter), shared: relayed(shared) }, rounds)
  const us = (all: readonly Turn[]) => all.map((each) => each.us)
  await shared.stop()
  return [
    [
      'relaying messages of 4 KB, all limits in Redis: CPU, to Postfix with `smtpd_proxy_filter`',
      judged(ratio(us(turns.shared), us(turns.filter)), { atMost: 1 }),
      `${median(us(turns.shared)).toFixed(0)} µs to ${median(us(turns.filter)).toFixed(0)} µs; accepted ${read(turns.shared, '250')}`,
    ],
  ]
}
