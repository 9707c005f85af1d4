// What ten thousand slow clients do to an honest one: how long its message takes, from connect to the end of the session,
// with nobody else there, while they are silent or type one octet a second, and when they have come as far as RCPT and DATA.
//
//     npm run build && npm run bench:slow [-- --clients 10000]

import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import type { Tally } from './load.ts'
import { judged, progress, residentBytes, table } from './measure.ts'
import { atEnd, benchmark, need, option, startLoad, startSpillway } from './processes.ts'

const CLIENTS = Number(option('clients') ?? 10_000)
const MAIL = { perSecond: 20, seconds: 30, size: 4096 }
/** When the slow ones have typed RCPT, and when DATA is behind all of them, in ms after they came. */
const TYPED_MS = 70_000
const GOAL = 2

const percentile = (tally: Tally, share: number): number => {
  const took = tally.visits.map(({ tookMs }) => tookMs).sort((a, b) => a - b)
  return took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? Number.NaN
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
    const sessions = (await spillway.counters()).get('spillway_connections_open') ?? Number.NaN
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
      (residentBytes(spillway.pid).now / 1e6).toFixed(0),
    ])
  }
  // The first messages compile the code.
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
    table(['honest messages while', 'sessions', 'heard', 'p50 ms', 'p99 ms', 'to the usual p99', 'CPU', 'MB'], rows),
  )
})
