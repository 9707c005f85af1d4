// The program for a long time, with everything against it: 300 connections a second, most of them unwelcome; mail servers that
// hang, put off and crash; a Redis that freezes and dies; a reload every ten seconds; a worker killed every minute. At the end:
// is all honest mail there, does memory grow, is anything left open?
//
//     npm run soak -- --minutes 30
//
// The first third, at most ten minutes, is warming up: tables fill, code is compiled.

import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { CERT, KEY } from '../test/config/pem.ts'
import { waitUntil } from '../test/services/processes.ts'
import { startRedis } from '../test/services/redis.ts'
import { startRecordingServer } from '../test/soak/mail-server.ts'
import { type Attempt, judge, Senders, unknownIn } from '../test/soak/senders.ts'
import { progress, table } from './measure.ts'
import { atEnd, benchmark, need, option, type Spillway, startSpillway } from './processes.ts'
import { envText, Faults } from './soak/faults.ts'
import { floors, Inspected, type Sample, slopeOf } from './soak/memory.ts'
import { Nuisances } from './soak/nuisances.ts'

const SAMPLE_MS = 10_000
/** Of memory, in an hour. */
const GROWTH = 1_000_000
/** Below this, a slope is that of chance. */
const LEAST_SAMPLED_S = 300
/** How long everything may take to come to rest at the end. */
const REST_MS = 60_000
/** A sender hears of a worker's death at once; the rest is for a busy machine. */
const KILL_HEARD_MS = 3_000

type Row = readonly [what: string, found: string, goal: string, met: boolean | undefined]
const rows: Row[] = []
const judged = (what: string, found: string | number, goal: string, met: boolean | undefined): void =>
  void rows.push([what, String(found), goal, met])

/** What is there when nobody is: open files of each process, and what its event loop knows of. */
async function atRest(spillway: Spillway, inspected: readonly Inspected[]): Promise<Map<string, number>> {
  const counters = await spillway.counters()
  const resources = [...counters].filter(([name]) => /^nodejs_active_resources(_total)?\{/.test(name))
  return new Map([
    ...inspected.map(({ files }, i): [string, number] => [`open files of ${NAMES[i]}`, files]),
    ...resources.filter(([name]) => !name.includes('Immediate')),
  ])
}

const NAMES = ['the parent', 'worker 1']

/** @returns what is more than it was, in words */
function moreThan(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string[] {
  return [...after].flatMap(([name, count]) =>
    count > (before.get(name) ?? 0) ? [`${name}: ${before.get(name) ?? 0} -> ${count}`] : [],
  )
}

/** Waits until nothing is wrong any more, or time is up. @returns what is wrong then */
async function settled(wrong: () => Promise<string[]>): Promise<string[]> {
  let last: string[] = []
  const over = async (): Promise<true | undefined> => {
    last = await wrong()
    return last.length === 0 ? true : undefined
  }
  await waitUntil(over, REST_MS, () => '').catch(() => undefined)
  return last
}

async function gaugesAbove0(spillway: Spillway): Promise<string[]> {
  const counters = await spillway.counters()
  const names = [
    'connections_open',
    'upstream_connections_open',
    'redis_fallback_active',
    'settings_stale',
    'unknown_guard_active',
  ]
  const above = names.flatMap((name) => {
    const value = counters.get(`spillway_${name}`)
    return value === 0 ? [] : [`${name}: ${value}`]
  })
  const [connections, sessions] = ['connections', 'sessions'].map((name) => counters.get(`spillway_${name}_total`))
  return connections === sessions ? above : [...above, `connections: ${connections}, sessions that ended: ${sessions}`]
}

interface LogRead {
  readonly unknown: ReadonlySet<string>
  /** Messages of level error that are not about a worker that was killed. */
  readonly errors: ReadonlyMap<string, number>
}

async function readLog(file: string): Promise<LogRead> {
  const unknown = new Set<string>()
  const errors = new Map<string, number>()
  for await (const text of createInterface({ input: createReadStream(file) })) {
    if (!text.startsWith('{')) continue
    const line = JSON.parse(text) as Record<string, unknown>
    const name = unknownIn(line)
    if (name !== undefined) unknown.add(name)
    const told = `${line.msg} ${line.err ?? ''}`.trim()
    if (line.level === 'error' && line.signal !== 'SIGKILL') errors.set(told, (errors.get(told) ?? 0) + 1)
  }
  return { unknown, errors }
}

function judgeMemory(samples: readonly (readonly Sample[])[], seconds: number): void {
  const warm = Math.min(600, seconds / 3)
  for (const [i, name] of NAMES.entries()) {
    const own = (samples[i] ?? []).filter(({ at }) => at >= warm)
    const measures = {
      'lives after a garbage collection': own.map(({ at, live }): [number, number] => [at, live]),
      'is resident, lowest of each minute': floors(own),
    }
    for (const [what, points] of Object.entries(measures)) {
      const slope = slopeOf(points)
      const enough = seconds - warm >= LEAST_SAMPLED_S && slope !== undefined
      const mb = (bytes: number): string => (bytes / 1e6).toFixed(2)
      const at = points.at(-1)?.[1] ?? 0
      const found = `${mb(at)} MB${slope === undefined ? '' : `, ${mb(slope.perHour)} ± ${mb(slope.error)} MB an hour`}`
      // More than chance would give.
      const met = enough ? slope.perHour - 2 * slope.error <= GROWTH : undefined
      judged(`memory of ${name} that ${what}`, found, `at most ${mb(GROWTH)} MB an hour`, met)
    }
  }
}

async function begin(folder: string) {
  const servers = [await startRecordingServer(), await startRecordingServer()] as const
  for (const server of servers) atEnd(() => server.stop())
  const redis = await startRedis()
  atEnd(() => redis.stop())
  const envFile = join(folder, 'env')
  writeFileSync(envFile, envText(servers, false))
  writeFileSync(join(folder, 'cert'), CERT)
  writeFileSync(join(folder, 'key'), KEY, { mode: 0o600 })
  const settings = {
    ...{ ENV_FILE: envFile, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off', WORKERS: 2 },
    ...{ REDIS_URL: `redis://127.0.0.1:${redis.port}`, TLS_CERT: join(folder, 'cert'), TLS_KEY: join(folder, 'key') },
  }
  const spillway = await startSpillway(settings, { more: ['--inspect=127.0.0.1:0'] })
  const text = await waitUntil(
    () => {
      const now = readFileSync(spillway.log, 'utf8')
      return now.includes('all workers serve') ? now : undefined
    },
    10_000,
    () => 'the workers do not start',
  )
  const urls = [...text.matchAll(/Debugger listening on (ws:\S+)/g)].map(([, url]) => url as string)
  const status = await (await fetch(`http://127.0.0.1:${spillway.admin}/api/v1/status`)).text()
  const first = (JSON.parse(status) as { workers: { worker: number; pid: number }[] }).workers.find(
    (w) => w.worker === 1,
  )
  const all = await Promise.all(urls.map((url) => Inspected.at(url)))
  const inspected = [spillway.pid, first?.pid].flatMap((pid) => all.filter((each) => each.pid === pid))
  if (inspected.length !== NAMES.length) throw new Error('the inspector of a process was not found in the log')
  return { servers, redis, envFile, spillway, inspected }
}

async function watched(inspected: readonly Inspected[], seconds: number, told: () => string): Promise<Sample[][]> {
  const samples: Sample[][] = inspected.map(() => [])
  const begun = performance.now()
  for (let at = 0; at < seconds; at = (performance.now() - begun) / 1000) {
    await sleep(Math.min(SAMPLE_MS, (seconds - at) * 1000))
    for (const [i, each] of inspected.entries()) {
      const { resident } = each
      samples[i]?.push({ at: (performance.now() - begun) / 1000, resident, live: await each.live() })
    }
    progress(`${Math.round(at)} of ${seconds} s, ${told()}`)
  }
  progress('')
  return samples
}

async function soak(minutes: number, folder: string): Promise<void> {
  const { spillway, inspected, ...around } = await begin(folder)
  const before = await atRest(spillway, inspected)
  const senders = new Senders({
    port: spillway.port,
    atOnce: 40,
    restMs: 400,
    retryMs: 500,
    tls: (number) => number % 2 === 0,
  })
  const nuisances = new Nuisances(spillway.port)
  const faults = new Faults({ ...around, admin: spillway.admin })
  const seconds = minutes * 60
  senders.start()
  nuisances.start()
  faults.start()
  const samples = await watched(
    inspected,
    seconds,
    () => `${senders.messages.size} messages, ${faults.kills.length} kills`,
  )
  const load = await spillway.counters()
  nuisances.stop()
  await faults.stop()
  await senders.stop()

  const rate = (load.get('spillway_connections_total') ?? 0) / seconds
  judged('connections a second', rate.toFixed(0), 'about 300', undefined)
  const { reloads, upstream, redis } = faults.counts
  const happened = `${reloads} reloads, ${upstream} of mail servers, ${redis} of Redis, ${faults.kills.length} workers killed`
  judged('what happened meanwhile', happened, '', undefined)
  judged(
    'reloads that failed',
    faults.failed.length === 0 ? 0 : faults.failed.slice(0, 3).join('; '),
    '0',
    faults.failed.length === 0,
  )
  judgeMemory(samples, seconds)
  const gauges = await settled(() => gaugesAbove0(spillway))
  judged('gauges above 0 at rest', gauges.join(', ') || 0, '0', gauges.length === 0)
  const left = await settled(async () => moreThan(before, await atRest(spillway, inspected)))
  judged('open files and resources beyond those of the start', left.join(', ') || 0, '0', left.length === 0)
  process.kill(spillway.pid, 'SIGTERM')
  const code = await Promise.race([spillway.ended, sleep(REST_MS, 'none', { ref: false })])
  judged('exit code after SIGTERM', String(code), '0', code === 0)
  await judgeMail(senders, around.servers, spillway.log, faults.kills)
}

async function judgeMail(
  senders: Senders,
  servers: readonly { readonly taken: ReadonlyMap<string, number> }[],
  file: string,
  kills: readonly number[],
): Promise<void> {
  const { unknown, errors } = await readLog(file)
  const taken = new Map<string, number>()
  for (const server of servers)
    for (const [name, count] of server.taken) taken.set(name, (taken.get(name) ?? 0) + count)
  const byKill = ({ at, pastDot, heard }: Attempt): boolean =>
    pastDot && heard === undefined && kills.some((kill) => at >= kill && at - kill < KILL_HEARD_MS)
  const verdict = judge(senders.messages, taken, (attempt) => unknown.has(attempt.name) || byKill(attempt))
  judged(
    'honest messages',
    `${verdict.messages} in ${verdict.attempts} tries, ${verdict.putOff} put off`,
    '',
    undefined,
  )
  for (const what of ['lost', 'doubled', 'undelivered', 'bounced'] as const) {
    const names = verdict[what]
    judged(`honest messages ${what}`, names.slice(0, 5).join(' ') || 0, '0', names.length === 0)
  }
  judged('taken, and sent again: logged unknown, or its worker was killed', verdict.unknown.length, '', undefined)
  const told = [...errors].map(([text, count]) => `${count} × ${text}`)
  judged('errors in the log', told.slice(0, 3).join('; ') || 0, '0', told.length === 0)
}

await benchmark(async () => {
  need({ postfix: false })
  const minutes = Number(option('minutes') ?? 30)
  const folder = mkdtempSync(join(tmpdir(), 'spillway-soak-'))
  atEnd(() => rmSync(folder, { recursive: true, force: true }))
  await soak(minutes, folder)
  const verdictOf = (met: boolean | undefined): string => (met === undefined ? '' : met ? 'met' : '**missed**')
  const cells = rows.map(([what, found, goal, met]) => [what, found, goal, verdictOf(met)])
  console.log(table([`${minutes} minutes`, 'found', 'goal', 'verdict'], cells))
  if (rows.some(([, , , met]) => met === false)) process.exitCode = 1
})
