// What it costs to refuse a connection: the server's CPU time per refused connection, against a bare Node server that
// writes a line of the same length and closes, and against Postfix's postscreen with a deny list. Once with as many
// connections at once as a server can take, and once at an even rate, where a server finds less to do in each turn of its
// loop; the bare server then closes at once, without waiting for its client.
//
//     npm run build && npm run bench:shed [-- --profile DIR]

import { startPostfix } from '../test/services/postfix.ts'
import { startSink } from '../test/services/sink.ts'
import type { Sources } from './load.ts'
import { addressAt, alternate, cpuMs, judged, median, ratio, table } from './measure.ts'
import {
  AS_OPERATOR,
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
import { read, type Turn, turn } from './turn.ts'

const CONNECTIONS = 5_000
const CONCURRENCY = 64
/** Before anything is measured, so that the code of all servers is compiled, as it is soon after a flood has begun. */
const WARM_UP = 20_000
/** Connections a second at an even rate: below what any of the servers can take. */
const PER_SECOND = 3_000

const GOAL_POSTSCREEN = 0.7

/** 16 networks (/24), and 16 addresses. */
const MANY: Sources = { first: '127.16.0.0', count: 16 * 256 }
const FEW: Sources = { first: '127.16.0.1', count: 16 }
const DENY = '127.16.0.0/12'

interface Row {
  readonly name: string
  readonly settings: Readonly<Record<string, string>>
  readonly sources: Sources
  readonly code: string
  /** The most that it may cost, to the bare server: at as many at once as can be taken, and at an even rate. */
  readonly goal: number
  readonly goalAtRate: number
  readonly isBanned?: true
}

/**
 * With windows of an hour, clients that are over the limit stay over it until the end. The first connection of each
 * address or network is let in before anything is measured.
 */
const ROWS: readonly Row[] = [
  {
    name: 'banned: 4,096 addresses, each by itself',
    settings: {},
    sources: MANY,
    code: '554',
    goal: 1.3,
    goalAtRate: 1.5,
    isBanned: true,
  },
  { name: 'on the deny list', settings: { DENY }, sources: MANY, code: '554', goal: 1.35, goalAtRate: 1.5 },
  {
    name: 'over its limit: 16 addresses, each over its own',
    settings: { LIMIT_IP_CONNECTIONS: '1/1h' },
    sources: FEW,
    code: '421',
    goal: 1.5,
    goalAtRate: 1.6,
  },
  {
    name: 'over its limit: 4,096 addresses, in 16 networks over theirs',
    settings: { LIMIT_NET_CONNECTIONS: '1/1h' },
    sources: MANY,
    code: '421',
    goal: 1.5,
    goalAtRate: 1.6,
  },
]

/** Bans each of the addresses, as an operator does. */
async function ban({ admin }: Spillway, { first, count }: Sources): Promise<void> {
  for (let i = 0; i < count; i++) {
    const body = JSON.stringify({ network: addressAt(first, i) })
    const { status } = await fetch(`http://127.0.0.1:${admin}/api/v1/bans`, {
      method: 'POST',
      headers: AS_OPERATOR,
      body,
    })
    if (status !== 200) throw new Error(`the ban of ${addressAt(first, i)} was answered ${status}`)
  }
}

await benchmark(async () => {
  need({ postfix: true })
  const sink = await startSink()
  atEnd(() => sink.stop())
  const load = startLoad()
  const visits = (port: number, sources: Sources, count: number) =>
    load.order({ kind: 'visits', port, sources, count, concurrency: CONCURRENCY })

  const refusing = (server: Contender, sources: Sources, aloneMs?: () => number) => () =>
    turn(load, server, { kind: 'visits', sources, count: CONNECTIONS, concurrency: CONCURRENCY }, aloneMs)

  const atRate = (server: Contender, sources: Sources) => () =>
    turn(load, server, { kind: 'arrivals', sources, count: CONNECTIONS, perSecond: PER_SECOND })

  const rows = []
  const contenders: Record<string, () => Promise<Turn>> = {}
  const atRateToo: Record<string, () => Promise<Turn>> = {}
  for (const row of ROWS) {
    const spillway = await startSpillway({
      UPSTREAMS: `127.0.0.1:${sink.port}`,
      UPSTREAM_CLIENT_IP: 'none',
      RELAY_GUARD: 'off', // smtp-sink accepts mail for everybody, as an open relay would.
      ...row.settings,
    })
    if (row.isBanned) await ban(spillway, row.sources)
    await visits(spillway.port, row.sources, WARM_UP)
    const probe = 500
    const length = Math.round((await visits(spillway.port, row.sources, probe)).octets / probe)
    const bare = await startBare('refuse', length)
    const dropping = await startBare('drop', length)
    await visits(bare.port, row.sources, WARM_UP)
    await visits(dropping.port, row.sources, WARM_UP)
    contenders[row.name] = refusing(spillway, row.sources)
    contenders[`bare: ${row.name}`] = refusing(bare, row.sources)
    atRateToo[row.name] = atRate(spillway, row.sources)
    atRateToo[`bare: ${row.name}`] = atRate(dropping, row.sources)
    rows.push({ ...row, length })
  }
  const postfix = await startPostfix({ listeners: [{ kind: 'postscreen', deny: [DENY] }] })
  atEnd(() => postfix.stop())
  const postscreen = { port: postfix.port(), pids: postfix.pids, cpuMs: () => cpuMs(postfix.pids()) }
  contenders.postscreen = refusing(postscreen, MANY, () => cpuMs(postfix.pids(), 'postscreen'))

  const results = await alternate(contenders, rounds())
  const evenly = await alternate(atRateToo, rounds())
  const of = (name: string) => results[name] ?? []
  const ofEvenly = (name: string) => evenly[name] ?? []
  const cost = (turns: readonly Turn[]) => turns.map((result) => result.us)
  const us = (name: string) => cost(of(name))
  const alone = of('postscreen').map((result) => result.alone)
  const micro = (values: readonly number[]) => `${median(values).toFixed(1)} µs`
  console.log(
    table(
      ['refused because', 'reply', 'Spillway', 'bare Node', 'postscreen', 'to bare Node', 'to postscreen', 'read'],
      rows.map(({ name, length, code, goal }) => [
        name,
        `${length} octets`,
        micro(us(name)),
        micro(us(`bare: ${name}`)),
        micro(us('postscreen')),
        judged(ratio(us(name), us(`bare: ${name}`)), { atMost: goal }),
        judged(ratio(us(name), us('postscreen')), { atMost: GOAL_POSTSCREEN }),
        read(of(name), code),
      ]),
    ),
  )
  console.log(
    `\npostscreen's process alone, without Postfix's master and its log: ${micro(alone)}; ` +
      `Spillway to that: ${rows.map(({ name }) => ratio(us(name), alone).toFixed(2)).join(', ')}.\n` +
      `Replies read to the end by the clients of bare Node: ${rows.map(({ name }) => read(of(`bare: ${name}`), '554')).join(', ')}; of postscreen: ${read(of('postscreen'), '521')}.`,
  )
  console.log(
    `\n${table(
      [`refused because, ${PER_SECOND} a second`, 'Spillway', 'bare Node', 'to bare Node', 'read', 'of bare Node'],
      rows.map(({ name, code, goalAtRate }) => {
        const [ours, bare] = [ofEvenly(name), ofEvenly(`bare: ${name}`)]
        const compared = judged(ratio(cost(ours), cost(bare)), { atMost: goalAtRate })
        return [name, micro(cost(ours)), micro(cost(bare)), compared, read(ours, code), read(bare, '554')]
      }),
    )}`,
  )
})
