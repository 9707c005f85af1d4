// What TLS adds to a session, in CPU time: a full handshake and a resumed one, against a session of as many commands without TLS, and
// against a bare Node server that does the same handshake and says as many octets, over a plain socket that is upgraded as well.
// Sessions come at an even rate, so few that no handshake waits for its turn. With `--at-once 8` eight are under way at any time.
//
//     npm run build && npm run bench:tls-session [-- --rounds 9] [-- --beside OTHER/dist/main.js] [-- --at-once 8]

import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import { alternate, judged, median, progress, ratio, table } from './measure.ts'
import { atEnd, benchmark, type Contender, need, option, rounds, startSpillway } from './processes.ts'
import { type KeyPair, makePairs, startBareTls, startTlsLoad, type TlsLoad } from './tls.ts'

const VISITS = 400
/** With RSA signatures of 1 ms they take 15 % of the event loop; handshakes may have a quarter of it. */
const PER_SECOND = 150
/** Before anything is measured, so that the code is compiled. */
const WARM_UP = 3000
const WARM_UP_AT_ONCE = 8
const SETTLE_MS = 200
const GOAL = 1.1

const WAYS = { plain: { tls: false }, full: { tls: true }, resumed: { tls: true, resumes: true } } as const
type Way = keyof typeof WAYS
const NAMES = Object.keys(WAYS) as Way[]

const us = (some: readonly number[]): string => `${median(some).toFixed(0)} µs`
const without = (some: readonly number[], others: readonly number[]) => some.map((each, i) => each - (others[i] ?? 0))

type Pace = { readonly perSecond: number } | { readonly concurrency: number }

/** CPU time of each session in µs. */
async function cost(clients: TlsLoad, server: Contender, way: Way, count: number, pace: Pace): Promise<number> {
  const before = server.cpuMs()
  const { failed, resumed } = await clients.order({
    ...{ kind: 'visits', port: server.port, first: '127.202.0.1', sources: 200, count },
    ...pace,
    ...WAYS[way],
  })
  if (failed > 0) throw new Error(`${failed} sessions of ${count} failed`)
  if (way === 'resumed' && resumed < count - 1)
    throw new Error(`${count - resumed} sessions of ${count} were not resumed`)
  await sleep(SETTLE_MS)
  return ((server.cpuMs() - before) * 1000) / count
}

async function measure(clients: TlsLoad, pair: KeyPair, upstream: string): Promise<string[][]> {
  const settings = {
    ...{ UPSTREAMS: upstream, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' },
    ...{ TLS_CERT: pair.cert, TLS_KEY: pair.key },
    ...{ LIMIT_IP_CONNECTIONS: '100000/1m', LIMIT_NET_CONNECTIONS: '100000/1m' },
  }
  const beside = option('beside')
  const servers: Record<string, Contender> = { Spillway: await startSpillway(settings), bare: await startBareTls(pair) }
  if (beside !== undefined) servers.beside = await startSpillway(settings, { program: beside })
  const atOnce = option('at-once')
  const pace = atOnce === undefined ? { perSecond: PER_SECOND } : { concurrency: Number(atOnce) }
  const turns: Record<string, () => Promise<number>> = {}
  for (const [name, server] of Object.entries(servers)) {
    for (const way of NAMES) {
      progress(`${pair.kind}: warming up ${name}`)
      await cost(clients, server, way, WARM_UP, { concurrency: WARM_UP_AT_ONCE })
      turns[`${name} ${way}`] = () => cost(clients, server, way, VISITS, pace)
    }
  }
  const found = await alternate(turns, rounds())
  const of = (name: string, way: Way): number[] => found[`${name} ${way}`] ?? []
  const added = (name: string, way: Way): number[] => without(of(name, way), of(name, 'plain'))
  return ['Spillway', 'beside'].flatMap((name) =>
    servers[name] === undefined
      ? []
      : NAMES.map((way) => [
          `${pair.kind}, ${name}: ${way}`,
          us(of(name, way)),
          us(of('bare', way)),
          way === 'plain'
            ? ratio(of(name, way), of('bare', way)).toFixed(2)
            : judged(ratio(of(name, way), of('bare', way)), { atMost: GOAL }),
          ...(way === 'plain'
            ? ['', '', '']
            : [
                us(added(name, way)),
                us(added('bare', way)),
                judged(ratio(added(name, way), added('bare', way)), { atMost: GOAL }),
              ]),
        ]),
  )
}

await benchmark(async () => {
  need({ postfix: true })
  const pairs = makePairs()
  const sink = await startSink()
  atEnd(() => sink.stop())
  const clients = startTlsLoad()
  const rows: string[][] = []
  for (const pair of pairs) rows.push(...(await measure(clients, pair, `127.0.0.1:${sink.port}`)))
  const heads = [
    'session',
    'CPU',
    'of bare Node',
    'to bare Node',
    'TLS adds',
    'to bare Node it adds',
    'the one to the other',
  ]
  console.log(table(heads, rows))
})
