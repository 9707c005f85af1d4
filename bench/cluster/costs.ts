// What a refusal costs the node and Redis with all limits in Redis, and what a message costs.

import { setTimeout as sleep } from 'node:timers/promises'
import { startPostfix } from '../../test/services/postfix.ts'
import type { RedisServer } from '../../test/services/redis.ts'
import type { Sources } from '../load.ts'
import { addressAt, alternate, cpuMs, judged, median, ratio } from '../measure.ts'
import { atEnd, type Contender, type Load, type Spillway, startBare } from '../processes.ts'
import { drawn, RELAYED, read, STRANGERS, type Turn, turn, WIDE_LIMITS } from '../turn.ts'
import { FEW, type Row, type Start } from './rows.ts'

/** Commands that told Redis of limits. Each is one script; the nodes' announcements are sent in another way. */
async function told(redis: RedisServer): Promise<number> {
  return (await redis.commands()).evalsha ?? 0
}

const REFUSED = { kind: 'visits', count: 5_000, concurrency: 64 } as const
/** Each address is in a network (/24) of its own; 127.0.0.0/8 has enough of them for twelve turns. */
const NETWORKS: Sources = { first: '127.0.0.2', count: 65_000, step: 256 }
/** Addresses of a flood that are seen once each. */
const FLOOD: Sources = { first: '127.64.0.0', count: 100_000 }

export async function refusals(load: Load, redis: RedisServer, start: Start, rounds: number): Promise<Row[]> {
  const visit = (port: number, sources: Sources, visits: number, concurrency = 64) =>
    load.order({ kind: 'visits', port, sources, count: visits, concurrency })
  // With windows of an hour, a limit that is used up stays used up. The node called elsewhere uses it up.
  const own = await start('own', { LIMIT_IP_CONNECTIONS: '1/1h' })
  const global = { LIMIT_GLOBAL_CONNECTIONS: '1/1h' }
  const fullElsewhere = await start('full', global)
  const full = await start('full', global)
  const net = { LIMIT_NET_CONNECTIONS: '1/1h', LIMIT_GLOBAL_CONNECTIONS: '1000000/1m' }
  const filledElsewhere = await start('filled', net)
  const filled = await start('filled', net)
  await visit(own.port, FEW, FEW.count)
  await visit(fullElsewhere.port, FEW, 1)
  await visit(full.port, FEW, 1)
  const probe = 200
  const length = Math.round((await visit(own.port, FEW, probe)).octets / probe)
  const bareFew = await startBare('refuse', length)
  const bareMany = await startBare('refuse', length)

  const commands: Record<string, number[]> = {}
  const refused = (name: string, node: Contender, next: () => Sources, elsewhere?: Spillway) => async () => {
    const sources = next()
    if (elsewhere !== undefined) {
      // Another address of each network is let in elsewhere, and one here: so this node hears that the network has used up its limit.
      await visit(elsewhere.port, { ...sources, first: addressAt(sources.first, 1) }, REFUSED.count)
      await visit(node.port, { ...sources, first: addressAt(sources.first, 2) }, REFUSED.count)
      await sleep(500)
    }
    const before = await told(redis)
    const result = await turn(load, node, { ...REFUSED, sources })
    commands[name] = [...(commands[name] ?? []), (await told(redis)) - before]
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
      filled: refused('filled', filled, networks, filledElsewhere),
    },
    rounds,
  )
  const us = (all: readonly Turn[]) => all.map((each) => each.us)
  const most = (name: string) => Math.max(...(commands[name] ?? []))
  const micro = (all: readonly Turn[]) => `${median(us(all)).toFixed(1)} µs`
  const rows = (what: string, name: string, ours: readonly Turn[], theirs: readonly Turn[]): Row[] => [
    [
      `refusing ${REFUSED.count} connections ${what}: Redis commands`,
      judged(most(name), { atMost: 0 }, 0),
      `the most of ${rounds + 1} rounds`,
    ],
    [
      'the same: CPU of the node, to bare Node',
      judged(ratio(us(ours), us(theirs)), { atMost: 1.5 }),
      `${micro(ours)} to ${micro(theirs)}; read ${read(ours, '421')}`,
    ],
  ]
  await Promise.all([own, full, fullElsewhere, filled, filledElsewhere].map((node) => node.stop()))
  return [
    ...rows('of addresses over their limit', 'own', turns.own, turns.bareFew),
    ...rows('of new addresses by the global limit, used up by another node', 'full', turns.full, turns.bareMany),
    ...rows('of networks that another node has filled', 'filled', turns.filled, turns.bareMany),
    ...(await flood(load, redis, start)),
  ]
}

/** A flood of addresses that are seen once each, with the default limits and one for everybody, one half of it let in. */
async function flood(load: Load, redis: RedisServer, start: Start): Promise<Row[]> {
  const node = await start('flood', { LIMIT_GLOBAL_CONNECTIONS: `${FLOOD.count / 2}/1h` })
  await sleep(1_000)
  const cpu = () => ({ node: node.cpuMs(), redis: cpuMs(redis.pids()) })
  const [before, toldBefore] = [cpu(), await told(redis)]
  const { codes } = await load.order({
    kind: 'visits',
    port: node.port,
    sources: FLOOD,
    count: FLOOD.count,
    concurrency: 64,
  })
  const [after, commands] = [cpu(), (await told(redis)) - toldBefore]
  await node.stop()
  const seen = Object.entries(codes).map(([code, count]) => `${count} × ${code}`)
  return [
    [
      `a flood of ${FLOOD.count} addresses seen once each: Redis commands for each`,
      judged(commands / FLOOD.count, { atMost: 0.02 }, 4),
      seen.join(', '),
    ],
    [
      "the same: CPU of Redis, to the node's",
      judged((100 * (after.redis - before.redis)) / (after.node - before.node), { atMost: 2 }, 1, ' %'),
      `${(after.redis - before.redis).toFixed(0)} ms to ${(after.node - before.node).toFixed(0)} ms`,
    ],
  ]
}

/** Settings of a node that relays, apart from Redis. */
export const RELAYING = { ...WIDE_LIMITS, RCPT_DOMAINS: 'example.test', UPSTREAM_MAX_CONNECTIONS: '100' }

export async function relaying(
  load: Load,
  sinkPort: number,
  start: Start,
  startAlone: () => Promise<Spillway>,
  rounds: number,
): Promise<Row[]> {
  const postfix = await startPostfix({
    recipients: ['anna@example.test'],
    listeners: [{ kind: 'proxy-filter', filter: `127.0.0.1:${sinkPort}` }],
  })
  atEnd(() => postfix.stop())
  const filter: Contender = { port: postfix.port(), pids: postfix.pids, cpuMs: () => cpuMs(postfix.pids()) }
  const [shared, alone] = [await start('relay', RELAYING), await startAlone()]
  const strangers = drawn(STRANGERS, RELAYED.count)
  const relayed = (server: Contender) => () => turn(load, server, { ...RELAYED, sources: strangers() })
  const turns = await alternate({ filter: relayed(filter), shared: relayed(shared), alone: relayed(alone) }, rounds)
  const us = (all: readonly Turn[]) => all.map((each) => each.us)
  await Promise.all([shared.stop(), alone.stop()])
  const micro = (all: readonly Turn[]) => `${median(us(all)).toFixed(0)} µs`
  return [
    [
      'relaying messages of 4 KB, all limits in Redis: CPU, to the same without Redis',
      judged(ratio(us(turns.shared), us(turns.alone)), { atMost: 1.05 }),
      `${micro(turns.shared)} to ${micro(turns.alone)}`,
    ],
    [
      'the same, to Postfix with `smtpd_proxy_filter`',
      judged(ratio(us(turns.shared), us(turns.filter)), { atMost: 1 }),
      `${micro(turns.shared)} to ${micro(turns.filter)}; accepted ${read(turns.shared, '250')}`,
    ],
  ]
}
