// What a flood of a million different addresses, one connection each, leaves in memory, without Redis and with it; what
// an idle session takes; and what a million known clients take.
//
//     npm run build && npm run bench:memory [-- --addresses 100000 | -- --only known]

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { standingAlone, standingOf } from '../src/overload/standing.ts'
import { History } from '../src/state/history.ts'
import { startRedis } from '../test/services/redis.ts'
import { startSink } from '../test/services/sink.ts'
import type { Tally } from './load.ts'
import { addressAt, judged, progress, residentBytes, table } from './measure.ts'
import { atEnd, benchmark, need, option, type Spillway, startLoad, startSpillway } from './processes.ts'

const ADDRESSES = Number(option('addresses') ?? 1_000_000)
const FIRST = '127.16.0.1'
/** How many connections are made at once, and how many in one order. */
const CONCURRENCY = 100
const BATCH = 20_000
const SESSIONS = 10_000
/** How long nothing happens before memory is read. Nothing forces a garbage collection. */
const SETTLE_MS = 5_000

const GOAL_MB = 150
const GOAL_KB = 20
const KNOWN = 1_000_000
const GOAL_KNOWN_MB = 100
/** So many of the clients have names, each in a domain of its own. */
const DOMAINS = 100_000

const MIXES = [
  { name: 'all let in, and leave', settings: {}, isShared: false },
  // 10 addresses of each network (/24) get in, 246 are refused.
  { name: '4 % let in, 96 % refused', settings: { LIMIT_NET_CONNECTIONS: '10/1h' }, isShared: false },
  { name: 'the same, with limits in Redis', settings: { LIMIT_NET_CONNECTIONS: '10/1h' }, isShared: true },
] as const

const only = option('only')
if (only === 'known') console.log(friends())
else
  await benchmark(async () => {
    need({ postfix: true })
    const files = Number(execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }))
    if (files < 1.2 * SESSIONS)
      throw new Error(`${SESSIONS} sessions need more open files than ${files}: raise \`ulimit -n\``)
    const sink = await startSink()
    atEnd(() => sink.stop())
    const common = { UPSTREAMS: `127.0.0.1:${sink.port}`, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' }
    const load = startLoad()

    const redis = await startRedis()
    atEnd(() => redis.stop())
    const rows: string[][] = []
    for (const { name, settings, isShared } of MIXES) {
      const where = isShared ? { REDIS_URL: `redis://127.0.0.1:${redis.port}` } : {}
      const spillway = await startSpillway({ ...common, ...settings, ...where })
      await sleep(SETTLE_MS)
      const start = residentBytes(spillway.pid).now
      const codes: Record<string, number> = {}
      let lost = 0
      for (let done = 0; done < ADDRESSES; done += BATCH) {
        progress(`${name}: ${done} of ${ADDRESSES} addresses`)
        const count = Math.min(BATCH, ADDRESSES - done)
        const order = {
          kind: 'visits',
          port: spillway.port,
          sources: { first: addressAt(FIRST, done), count },
          count,
        } as const
        const tally = await load.order({ ...order, concurrency: CONCURRENCY })
        for (const [code, times] of Object.entries(tally.codes)) codes[code] = (codes[code] ?? 0) + times
        lost += tally.lost
      }
      progress('')
      await closed(spillway)
      await sleep(SETTLE_MS)
      const { now, peak } = residentBytes(spillway.pid)
      const replies = Object.entries(codes).map(([code, times]) => `${times} × ${code}`)
      rows.push([
        `${ADDRESSES.toLocaleString('en')} addresses: ${name}`,
        mb(start),
        `+${mb(peak - start)}`,
        `+${judged((now - start) / 1e6, { atMost: GOAL_MB }, 0, ' MB')}`,
        [...replies, `${lost} lost`].join(', '),
      ])
      await spillway.stop()
    }

    const spillway = await startSpillway({ ...common, MAX_CONNECTIONS: 1.2 * SESSIONS })
    await sleep(SETTLE_MS)
    const start = residentBytes(spillway.pid).now
    const order = { port: spillway.port, sources: { first: FIRST, count: SESSIONS }, count: SESSIONS } as const
    const tally: Tally = await load.order({ kind: 'hold', ...order, concurrency: CONCURRENCY })
    await sleep(SETTLE_MS)
    const open = (await spillway.counters()).get('spillway_connections_open')
    const { now, peak } = residentBytes(spillway.pid)
    await load.order({ kind: 'release' })
    console.log(table(['connections', 'at the start', 'at the highest', 'settled', 'replies'], rows))
    console.log(
      `\n${table(
        ['idle plaintext sessions after EHLO', 'at the start', 'at the highest', 'settled', 'each'],
        [
          [
            `${open} open (${tally.codes['250'] ?? 0} answered, ${tally.lost} lost)`,
            mb(start),
            `+${mb(peak - start)}`,
            `+${mb(now - start)}`,
            judged((now - start) / 1e3 / SESSIONS, { atMost: GOAL_KB }, 1, ' KB'),
          ],
        ],
      )}`,
    )
    console.log(`\n${friends()}`)
  })

/** The memory of this process, before and after it was taught a million friends, and then as many strangers. */
function friends(): string {
  const needs = { after: 3, days: 2 }
  let now = Date.UTC(2026, 0, 1)
  const history = new History({
    standingAlone: (own) => standingAlone(own, needs),
    ttlMs: () => 100 * 86_400_000,
    now: () => now,
    seed: randomBytes(8),
  })
  const before = residentBytes(process.pid).now
  for (const after of [0, 0, 86_400_000]) {
    now += after
    for (let i = 0; i < KNOWN; i++) {
      const ip = addressAt('20.0.0.0', i)
      const counted = history.learn(ip, { good: 1, bad: 0 })
      if (counted !== undefined && i < DOMAINS) history.domains.learn(`domain${i}.example`, ip, counted)
    }
  }
  const known = residentBytes(process.pid).now
  const friendly = history.count('known')
  for (let i = 0; i < KNOWN; i++) history.learn(addressAt('100.0.0.0', i), { good: 0, bad: 1 })
  const started = process.cpuUsage()
  for (let i = 0; i < KNOWN; i++) {
    const ip = addressAt('150.0.0.0', i)
    standingOf({ isAllowed: false, own: history.own(ip), net: history.net(ip) }, needs)
  }
  const used = process.cpuUsage(started)
  const each = ((used.user + used.system) * 1e3) / KNOWN
  return table(
    ['clients', 'in memory', 'known at the end', 'the standing of a stranger, CPU time'],
    [
      [
        `${KNOWN.toLocaleString('en')} that have sent honest mail, then as many strangers`,
        `+${judged((known - before) / 1e6, { atMost: GOAL_KNOWN_MB }, 0, ' MB')}`,
        `${friendly.toLocaleString('en')}, then ${history.count('known').toLocaleString('en')}`,
        `${each.toFixed(0)} ns`,
      ],
    ],
  )
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`
}

/** Resolves when the program has no client connection open. */
async function closed(spillway: Spillway): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    if ((await spillway.counters()).get('spillway_connections_open') === 0) return
    await sleep(100)
  }
  throw new Error('connections are still open 5 s after the last client has gone')
}
