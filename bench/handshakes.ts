// What TLS handshakes cost, and what a flood of them does to honest clients: how long an honest session takes, with STARTTLS and
// without, while one address, and while 1,000 addresses, do nothing but handshakes, or nothing but connections.
//
//     npm run build && npm run bench:handshakes [-- --seconds 20] [-- --key RSA]

import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import { judged, median, progress, table } from './measure.ts'
import { atEnd, benchmark, need, option, startSpillway } from './processes.ts'
import { makePairs, startTlsLoad } from './tls.ts'
import type { TlsOrder } from './tls-load.ts'

const SECONDS = Number(option('seconds') ?? 20)
const PER_SECOND = 10
const GOAL_P99 = 2
/** As in bench/slow.ts: a single disturbance of the machine spoils one part only. */
const PARTS = 5

const percentile = (took: readonly number[], share: number): number => {
  const size = Math.ceil(took.length / PARTS)
  return median(
    Array.from({ length: PARTS }, (_, part) => {
      const own = took.slice(part * size, (part + 1) * size).sort((a, b) => a - b)
      return own[Math.min(own.length - 1, Math.floor(own.length * share))] ?? Number.NaN
    }),
  )
}

/** Of each kind with TLS and without: what a handshake adds is the difference. */
const ATTACKS: readonly {
  readonly name: string
  readonly sources: number
  readonly tls?: boolean
  readonly perSecond?: number
}[] = [
  { name: 'nobody else', sources: 0 },
  { name: 'one address, as many as the gate lets in (10/s)', sources: 1, perSecond: 10 },
  { name: 'one address, 300/s', sources: 1, perSecond: 300 },
  { name: 'one address, 1,000/s', sources: 1, perSecond: 1000 },
  { name: 'one address, as fast as it can', sources: 1 },
  { name: 'one address, as fast as it can, without STARTTLS', sources: 1, tls: false },
  { name: '1,000 addresses, 300/s', sources: 1000, perSecond: 300 },
  { name: '1,000 addresses, 1,000/s', sources: 1000, perSecond: 1000 },
  { name: '1,000 addresses, as fast as they can', sources: 1000 },
]

await benchmark(async () => {
  need({ postfix: true })
  const kinds = makePairs()
  const sink = await startSink()
  atEnd(() => sink.stop())
  const start = ({ cert, key }: { cert: string; key: string }, more: Record<string, string> = {}) =>
    startSpillway({
      UPSTREAMS: `127.0.0.1:${sink.port}`,
      UPSTREAM_CLIENT_IP: 'none',
      RELAY_GUARD: 'off',
      TLS_CERT: cert,
      TLS_KEY: key,
      ...more,
    })
  const [secure, plain, attackers] = [startTlsLoad(), startTlsLoad(), startTlsLoad()]
  const rows: string[][] = []
  for (const pair of kinds.filter(({ kind }) => kind.startsWith(option('key') ?? ''))) {
    const spillway = await start(pair)
    const honest = (tls: boolean, seconds: number): TlsOrder => ({
      ...{ kind: 'mail', tls, port: spillway.port, first: tls ? '127.200.0.1' : '127.201.0.1', sources: 200 },
      ...{ count: PER_SECOND * seconds, perSecond: PER_SECOND },
    })
    await Promise.all([secure.order(honest(true, 5)), plain.order(honest(false, 5))])
    const usual: number[] = []
    for (const { name, sources, tls = true, perSecond } of ATTACKS) {
      progress(`${pair.kind}: ${name}`)
      // Node's histogram of event-loop delays is reset by each scrape.
      await spillway.counters()
      const cpu = spillway.cpuMs()
      const began = performance.now()
      const attack: TlsOrder = {
        ...{ kind: 'attack', tls, port: spillway.port, first: '127.16.0.1', sources },
        ...{ concurrency: sources === 1 ? 64 : 200, seconds: SECONDS + 2 },
        ...(perSecond !== undefined && { perSecond }),
      }
      const attacking = sources === 0 ? undefined : attackers.order(attack)
      if (attacking !== undefined) await sleep(1000)
      const tallies = await Promise.all([secure.order(honest(true, SECONDS)), plain.order(honest(false, SECONDS))])
      const attacked = await attacking
      const share = (spillway.cpuMs() - cpu) / (performance.now() - began)
      const lag = (await spillway.counters()).get('nodejs_eventloop_lag_p99_seconds') ?? Number.NaN
      const p99 = tallies.map(({ took }) => percentile(took, 0.99))
      if (sources === 0) usual.push(...p99)
      rows.push([
        `${pair.kind}: ${name}`,
        ...p99.map((ms) => ms.toFixed(1)),
        ...p99.map((ms, i) => (sources === 0 ? '' : judged(ms / (usual[i] ?? Number.NaN), { atMost: GOAL_P99 }))),
        tallies.map(({ failed }) => failed).join(' + '),
        attacked === undefined ? '' : ((attacked.answered * 1000) / attacked.ms).toFixed(0),
        Object.entries(attacked?.codes ?? {})
          .map(([code, times]) => `${times} x ${code}`)
          .join(', '),
        share.toFixed(2),
        (lag * 1000).toFixed(0),
      ])
      await sleep(3000)
    }
    await spillway.stop()
  }
  progress('')
  console.log(
    table(
      [
        'honest mail while handshakes are done by',
        'with TLS, p99 ms',
        'without, p99 ms',
        'with TLS, to the usual',
        'without, to the usual',
        'failed',
        "attackers' handshakes a second",
        'they heard',
        'CPU',
        'p99 of the event-loop delay, ms',
      ],
      rows,
    ),
  )
})
