// What ten thousand slow clients do to honest ones: how long an honest message takes, from connect to the end of the
// session. It is measured with nobody else connected, while the slow clients are silent or type one octet a second, and
// when they have got as far as RCPT and DATA.
//
//     npm run build && npm run bench:slow [-- --clients 10000]

import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import type { Tally } from './load.ts'
import { judged, median, progress, residentBytes, table } from './measure.ts'
import { atEnd, benchmark, need, option, startLoad, startSpillway } from './processes.ts'

const CLIENTS = Number(option('clients') ?? 10_000)
const MAIL = { perSecond: 30, seconds: 40, size: 4096 }
/**
 * The p99 is the median over this many consecutive parts, so that a single disturbance of the machine spoils only one.
 */
const PARTS = 5
/** How long after they connected all slow clients have typed RCPT and DATA, in ms. */
const TYPED_MS = 70_000
const GOAL = 2

const percentile = ({ visits }: Tally, share: number): number => {
  const size = Math.ceil(visits.length / PARTS)
  const parts = Array.from({ length: PARTS }, (_, part) => {
    const took = visits.slice(part * size, (part + 1) * size).map(({ tookMs }) => tookMs)
    return took.sort((a, b) => a - b)[Math.min(took.length - 1, Math.floor(took.length * share))] ?? Number.NaN
  })
  return median(parts)
}

await benchmark(async () => {
  need({ postfix: true })
  const sink = await startSink()
  atEnd(() => sink.stop())
  const spillway = await startSpillway({
    UPSTREAMS: `127.0.0.1:${sink.port}`,
    UPSTREAM_CLIENT_IP: 'none',
    RELAY_GUARD: 'off',
  })
  const honest = startLoad()
  const slow = startLoad()
  const { port } = spillway
  const rows: string[][] = []
  let usual: number | undefined
  const measure = async (name: string): Promise<void> => {
    progress(name)
    // Node's histogram of event-loop delays is reset by each scrape.
    await spillway.counters()
    const cpu = spillway.cpuMs()
    const tally = await honest.order({
      kind: 'mail',
      port,
      sources: { first: '127.200.0.1', count: 200 },
      count: MAIL.perSecond * MAIL.seconds,
      perSecond: MAIL.perSecond,
      size: MAIL.size,
    })
    const share = (spillway.cpuMs() - cpu) / tally.ms
    const p99 = percentile(tally, 0.99)
    const counters = await spillway.counters()
    const sessions = counters.get('spillway_connections_open') ?? Number.NaN
    const delay = (counters.get('nodejs_eventloop_lag_max_seconds') ?? Number.NaN) * 1000
    rows.push([
      name,
      String(sessions),
      Object.entries(tally.codes)
        .map(([code, times]) => `${times} x ${code}`)
        .join(', ') + (tally.lost > 0 ? `, ${tally.lost} lost` : ''),
      percentile(tally, 0.5).toFixed(1),
      p99.toFixed(1),
      usual === undefined ? '' : judged(p99 / usual, { atMost: GOAL }),
      share.toFixed(2),
      delay.toFixed(0),
      (residentBytes(spillway.pid).now / 1e6).toFixed(0),
    ])
  }
  // The first messages are slower, because the code is still being compiled.
  await measure('')
  rows.length = 0
  await measure('nobody else')
  usual = Number(rows[0]?.[4])
  await slow.order({
    kind: 'slow',
    port,
    sources: { first: '127.16.0.1', count: CLIENTS },
    count: CLIENTS,
    concurrency: 200,
  })
  const came = performance.now()
  await measure('they type their first commands')
  await sleep(Math.max(0, came + TYPED_MS - performance.now()))
  await measure('they are past RCPT')
  await measure('and half a minute later')
  await slow.order({ kind: 'release' })
  progress('')
  console.log(
    table(
      [
        'honest messages while',
        'sessions',
        'replies',
        'p50 ms',
        'p99 ms',
        'to the usual p99',
        'CPU',
        'longest event-loop delay, ms',
        'MB',
      ],
      rows,
    ),
  )
})
