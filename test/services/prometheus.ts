// A real Prometheus for one test: private, on a loopback port of its own, gone without a trace afterwards.
//
//     const prometheus = await startPrometheus({ jobs: { spillway: [`127.0.0.1:${app.adminPort}`] } })
//     await prometheus.waitForScrapes()
//     const [sample] = await prometheus.query('sum(up)')
//     await prometheus.stop()

import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeFolder, temporaryFolder } from '../support/folders.ts'
import { command } from './packages.ts'
import { freePorts } from './ports.ts'
import { startServer, waitUntil } from './processes.ts'

export interface PrometheusOptions {
  /** Whom it scrapes: `host:port` by the name of the job. */
  readonly jobs: Readonly<Record<string, readonly string[]>>
  /** Files of alerting and recording rules; absolute paths. */
  readonly rules?: readonly string[]
  /** Between two scrapes of a target, and between two evaluations of the rules. 250 ms, unless told. */
  readonly intervalMs?: number
}

export type Labels = Readonly<Record<string, string>>

/** A series of an answer: its values with their times, in seconds since the epoch. */
export interface Series {
  readonly labels: Labels
  readonly values: readonly (readonly [time: number, value: number])[]
}

export interface RuleHealth {
  readonly name: string
  /** `unknown` until it was evaluated for the first time. */
  readonly health: 'ok' | 'err' | 'unknown'
  /** What went wrong, where it did. */
  readonly lastError: string
}

export interface Prometheus {
  readonly port: number
  /**
   * As of now, or of `time` in seconds since the epoch. One value for each series. Rejects with what Prometheus says is wrong with the
   * expression.
   */
  query(expr: string, time?: number): Promise<Series[]>
  /** Between two times, in seconds since the epoch, every `step` seconds: what a panel asks for. */
  queryRange(expr: string, start: number, end: number, step: number): Promise<Series[]>
  /** Resolves when every target has been scraped since `since`, in ms since the epoch; rejects after `ms`. */
  waitForScrapes(since?: number, ms?: number): Promise<void>
  rules(): Promise<RuleHealth[]>
  pids(): number[]
  stop(): Promise<void>
}

/** Starts a Prometheus and resolves when it takes queries. Rejects with what Prometheus says is wrong. */
export async function startPrometheus(options: PrometheusOptions): Promise<Prometheus> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(options)
    } catch (error) {
      // Somebody else listens on a port that was free when it was looked up.
      if (attempt === 3 || !/address already in use/.test((error as Error).message)) throw error
    }
  }
}

async function startOnce({ jobs, rules = [], intervalMs = 250 }: PrometheusOptions): Promise<Prometheus> {
  const port = (await freePorts(1))[0]!
  const directory = mkdtempSync(join(tmpdir(), 'prometheus-'))
  const every = `${intervalMs}ms`
  const config = {
    global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
    rule_files: rules,
    scrape_configs: Object.entries(jobs).map(([job_name, targets]) => ({ job_name, static_configs: [{ targets }] })),
  }
  // JSON is YAML too.
  writeFileSync(join(directory, 'prometheus.yml'), JSON.stringify(config))
  const server = startServer(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    directory,
  )
  const at = (path: string) => fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000) })
  const api = async <T>(path: string, params: Readonly<Record<string, string>> = {}): Promise<T> => {
    const response = await at(`/api/v1/${path}?${new URLSearchParams(params)}`)
    const answer = (await response.json()) as { status: string; data: T; error?: string }
    if (answer.status !== 'success') throw new Error(answer.error ?? `${path}: ${response.status}`)
    return answer.data
  }

  try {
    await waitUntil(
      async () => {
        if (!server.running()) throw new Error(`Prometheus has ended: ${server.output()}`)
        return (await at('/-/ready').catch(() => undefined))?.ok || undefined
      },
      15_000,
      () => `Prometheus is not ready: ${server.output()}`,
    )
  } catch (error) {
    await server.stop()
    throw error
  }

  return {
    port,
    async query(expr, time) {
      const { result } = await api<Answer>('query', {
        query: expr,
        ...(time === undefined ? {} : { time: String(time) }),
      })
      return result.map(({ metric, value }) => series(metric, value === undefined ? [] : [value]))
    },
    async queryRange(expr, start, end, step) {
      const params = { query: expr, start: String(start), end: String(end), step: String(step) }
      const { result } = await api<Answer>('query_range', params)
      return result.map(({ metric, values }) => series(metric, values ?? []))
    },
    async waitForScrapes(since = Date.now(), ms = 20_000) {
      let told = 'nothing'
      await waitUntil(
        async () => {
          const { activeTargets } = await api<{ activeTargets: Target[] }>('targets', { state: 'active' })
          told = activeTargets.map((target) => `${target.scrapeUrl} ${target.health} ${target.lastError}`).join('; ')
          const done = activeTargets.every(
            ({ health, lastScrape }) => health === 'up' && Date.parse(lastScrape) >= since,
          )
          return (done && activeTargets.length > 0) || undefined
        },
        ms,
        () => `not every target was scraped: ${told}`,
      )
    },
    async rules() {
      const { groups } = await api<{ groups: { rules: RuleHealth[] }[] }>('rules')
      return groups.flatMap((group) =>
        group.rules.map(({ name, health, lastError = '' }) => ({ name, health, lastError })),
      )
    },
    pids: server.pids,
    stop: () => server.stop(),
  }
}

interface Target {
  readonly scrapeUrl: string
  readonly health: string
  readonly lastError: string
  readonly lastScrape: string
}

type Point = readonly [time: number, value: string]

interface Answer {
  readonly result: readonly { readonly metric: Labels; readonly value?: Point; readonly values?: readonly Point[] }[]
}

/** Prometheus writes values as text: "NaN", "+Inf", "1.5". */
const series = (labels: Labels, points: readonly Point[]): Series => ({
  labels,
  values: points.map(([time, value]) => [time, Number(value.replace('Inf', 'Infinity'))]),
})

/** Runs promtool, with `input` on its stdin; what it said and its exit code. */
export function promtool(args: readonly string[], input = ''): { code: number | null; output: string } {
  const { path, env } = command('promtool')
  // It leaves its samples behind where it is killed.
  const folder = temporaryFolder('promtool')
  const { status, stdout, stderr } = spawnSync(path, args, {
    input,
    // Collecting garbage less often saves a sixth of its CPU time.
    env: { ...process.env, ...env, TMPDIR: folder, GOGC: '400' },
    encoding: 'utf8',
    timeout: 60_000,
  })
  removeFolder(folder)
  return { code: status, output: stdout + stderr }
}
