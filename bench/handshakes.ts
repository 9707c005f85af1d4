// What TLS handshakes cost, and what a flood of them does to honest clients: how long an honest session takes, with STARTTLS and
// without, while one address, and while 1,000 addresses, do nothing but handshakes as fast as they can. Then a session with TLS in
// CPU time, against a bare Node server that does the same handshake and says the same octets.
//
//     npm run build && npm run bench:handshakes [-- --seconds 20] [-- --rounds 9]

import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import { alternate, cpuMs, judged, median, progress, ratio, table } from './measure.ts'
import { atEnd, benchmark, type Contender, need, option, rounds, startSpillway } from './processes.ts'
import type { TlsOrder, TlsTally } from './tls-load.ts'

const SECONDS = Number(option('seconds') ?? 20)
const PER_SECOND = 10
const VISITS = 300
/** Before anything is measured, so that the code is compiled. */
const WARM_UP = 2000
const SETTLE_MS = 200
const GOAL_P99 = 2
const GOAL_CPU = 1.1
/** As in bench/slow.ts: a single disturbance of the machine spoils one part only. */
const PARTS = 5

interface Clients {
  order(order: TlsOrder): Promise<TlsTally>
}

function startClients(): Clients {
  const child = fork(join(import.meta.dirname, 'tls-load.ts'))
  atEnd(() => void child.kill())
  return {
    async order(order) {
      const answer = once(child, 'message', { signal: AbortSignal.timeout(180_000) })
      child.send(order)
      return ((await answer) as [TlsTally])[0]
    },
  }
}

async function startBare(cert: string, key: string): Promise<Contender> {
  // As long as what Spillway says here: its name, PIPELINING, SIZE, STARTTLS, ENHANCEDSTATUSCODES, 8BITMIME, DSN.
  const child: ChildProcess = fork(join(import.meta.dirname, 'bare-tls.ts'), [cert, key, '110'])
  atEnd(() => void child.kill())
  const [{ port }] = (await once(child, 'message')) as [{ port: number }]
  const pids = () => [child.pid as number]
  return { port, pids, cpuMs: () => cpuMs(pids()) }
}

const percentile = (took: readonly number[], share: number): number => {
  const size = Math.ceil(took.length / PARTS)
  return median(
    Array.from({ length: PARTS }, (_, part) => {
      const own = took.slice(part * size, (part + 1) * size).sort((a, b) => a - b)
      return own[Math.min(own.length - 1, Math.floor(own.length * share))] ?? Number.NaN
    }),
  )
}

const ATTACKS = [
  { name: 'nobody else', sources: 0 },
  { name: 'one address', sources: 1 },
  { name: '1,000 addresses', sources: 1000 },
]

await benchmark(async () => {
  need({ postfix: true })
  const directory = mkdtempSync(join(tmpdir(), 'spillway-bench-tls-'))
  atEnd(() => rmSync(directory, { recursive: true, force: true }))
  const files = (name: string, algorithm: readonly string[]) => {
    const [cert, key] = [join(directory, `${name}.pem`), join(directory, `${name}.key`)]
    const made = ['req', '-x509', '-nodes', '-days', '30', '-subj', '/CN=mx.test.example', '-keyout', key, '-out', cert]
    execFileSync('openssl', [...made, ...algorithm], { stdio: 'ignore' })
    return { cert, key }
  }
  const kinds = [
    { kind: 'RSA 2048', ...files('rsa', ['-newkey', 'rsa:2048']) },
    { kind: 'ECDSA P-256', ...files('ec', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']) },
  ]
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
  const [secure, plain, attackers] = [startClients(), startClients(), startClients()]
  const rows: string[][] = []
  for (const pair of kinds) {
    const spillway = await start(pair)
    const honest = (tls: boolean, seconds: number): TlsOrder => ({
      ...{ kind: 'mail', tls, port: spillway.port, first: tls ? '127.200.0.1' : '127.201.0.1', sources: 200 },
      ...{ count: PER_SECOND * seconds, perSecond: PER_SECOND },
    })
    await Promise.all([secure.order(honest(true, 5)), plain.order(honest(false, 5))])
    const usual: number[] = []
    for (const { name, sources } of ATTACKS) {
      progress(`${pair.kind}: ${name}`)
      // Node's histogram of event-loop delays is reset by each scrape.
      await spillway.counters()
      const cpu = spillway.cpuMs()
      const began = performance.now()
      const attack: TlsOrder = {
        ...{ kind: 'attack', tls: true, port: spillway.port, first: '127.16.0.1', sources },
        ...{ concurrency: sources === 1 ? 64 : 200, seconds: SECONDS + 2 },
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
        'they heard at STARTTLS',
        'CPU',
        'p99 of the event-loop delay, ms',
      ],
      rows,
    ),
  )
  const costs: string[][] = []
  for (const pair of kinds) {
    const wide = { LIMIT_IP_CONNECTIONS: '100000/1m', LIMIT_NET_CONNECTIONS: '100000/1m' }
    const [spillway, bare] = [await start(pair, wide), await startBare(pair.cert, pair.key)]
    const visit = (server: Contender, count: number): Promise<TlsTally> =>
      secure.order({
        ...{ kind: 'visits', tls: true, port: server.port, first: '127.202.0.1', sources: 200 },
        ...{ count, concurrency: 8 },
      })
    for (const server of [spillway, bare]) await visit(server, WARM_UP)
    const cost = (server: Contender) => async () => {
      const before = server.cpuMs()
      await visit(server, VISITS)
      await sleep(SETTLE_MS)
      return ((server.cpuMs() - before) * 1000) / VISITS
    }
    const { ours, theirs } = await alternate({ ours: cost(spillway), theirs: cost(bare) }, rounds())
    costs.push([
      pair.kind,
      `${median(ours).toFixed(0)} µs`,
      `${median(theirs).toFixed(0)} µs`,
      judged(ratio(ours, theirs), { atMost: GOAL_CPU }),
    ])
  }
  console.log(`\n${table(['EHLO, STARTTLS, EHLO, QUIT', 'Spillway', 'bare Node', 'to bare Node'], costs)}`)
})
