// The Node processes of a benchmark: the built program, the bare servers, and the clients. Each is a process of its
// own. All are stopped at the end, even when the benchmark fails or is interrupted.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findRoot } from '../test/services/packages.ts'
import { runProgram, waitUntil } from '../test/services/processes.ts'
import { removeFolder, temporaryFolder } from '../test/support/folders.ts'
import type { Order, Tally } from './load.ts'
import { cpuMs, ROUNDS } from './measure.ts'

const PROGRAM = option('program') ?? join(import.meta.dirname, '../dist/main.js')

/** On a machine that has much else to do. */
const START_MS = 30_000

/** A server under test. */
export interface Contender {
  readonly port: number
  readonly pids: () => readonly number[]
  cpuMs(): number
}

export interface Spillway extends Contender {
  readonly pid: number
  /** The port of /metrics. */
  readonly admin: number
  /** The values at /metrics: each series by its full text, and the sums by metric name. */
  counters(): Promise<ReadonlyMap<string, number>>
  /** Stops it before the benchmark ends. */
  stop(): Promise<void>
  /** The file that its log goes to; it is gone at the end of the benchmark. */
  readonly log: string
  /** Resolves with its exit code; null if a signal has ended it. */
  readonly ended: Promise<number | null>
  /** Kills it at once, as if its machine had failed. */
  kill(): Promise<void>
}

const cleanups: (() => Promise<void> | void)[] = []

/** Calls `stop` at the end of the benchmark, however it ends. Calls are made in reverse order. */
export function atEnd(stop: () => Promise<void> | void): void {
  cleanups.push(stop)
}

/** Runs a benchmark, and stops everything it started. A failure is reported in one line, with exit code 1. */
export async function benchmark(run: () => Promise<void>): Promise<void> {
  const stopAll = async (): Promise<void> => {
    for (const stop of cleanups.splice(0).reverse()) await stop()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void stopAll().finally(() => process.exit(1)))
  }
  try {
    await run()
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  } finally {
    await stopAll()
  }
  // A client's socket that was reset while nobody read from it would keep the process alive for ever.
  process.exit()
}

/** Throws an Error that says what to do if something that the benchmark needs is missing. */
export function need({ postfix }: { postfix: boolean }): void {
  if (Number(process.versions.node.split('.')[0]) < 24) {
    throw new Error(`this is Node ${process.versions.node}; start the benchmark with \`npm run\`, which brings Node 24`)
  }
  if (!existsSync(PROGRAM)) throw new Error('the program is not built yet: run `npm run build`')
  if (!existsSync('/proc/self/stat')) throw new Error('CPU time and memory are read from /proc: this needs Linux')
  if (!postfix) return
  if (findRoot('postfix') === undefined) throw new Error('Postfix is not there: run `npm run services`')
  if (process.getuid?.() !== 0) throw new Error('Postfix is started by root only: run the benchmark as root')
}

async function end(child: ChildProcess, ms: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), ms)
  await gone
  clearTimeout(timer)
}

const environment = (settings: Readonly<Record<string, string | number>>): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [`SPILLWAY_${name}`, String(value)])),
})

/** Lets the built program learn from these lines (`spillway learn`). @returns what it says it has learnt, as it says it in JSON */
export async function learn(
  lines: string,
  settings: Readonly<Record<string, string>>,
  program: string = PROGRAM,
): Promise<{ readonly known: number; readonly seen: number }> {
  const { code, output } = await runProgram([process.execPath, program, 'learn', '-', '--json'], {
    env: environment(settings),
    input: lines,
    timeout: 60_000,
  })
  if (code !== 0) throw new Error(`spillway learn: ${output}`)
  return JSON.parse(output) as { known: number; seen: number }
}

const TOKEN = 'the-token-of-the-benchmark'
/** Fields of a request that changes something: every program that a benchmark starts has this token. */
export const AS_OPERATOR = { Authorization: `Bearer ${TOKEN}` } as const

/**
 * Starts the built program with these settings (names without their prefix) as in production: its log goes to a file,
 * at level info. On the command line of a benchmark, `--profile DIR` makes it leave a CPU profile in DIR when it ends,
 * `--node 'FLAGS'` passes these flags to its Node, and `--program FILE` starts a build other than dist/main.js.
 * @param more flags of Node that the benchmark itself needs
 * @param program the build
 */
export async function startSpillway(
  settings: Readonly<Record<string, string | number>>,
  { more = [], program = PROGRAM }: { readonly more?: readonly string[]; readonly program?: string | undefined } = {},
): Promise<Spillway> {
  const directory = temporaryFolder('spillway-bench')
  const file = join(directory, 'log')
  const log = openSync(file, 'a')
  const all = {
    LISTEN: '127.0.0.1:0',
    ADMIN_LISTEN: '127.0.0.1:0',
    HOSTNAME: 'mx.test.example',
    ADMIN_TOKEN: TOKEN,
    ...settings,
  }
  const profile = option('profile')
  // The flags of Node in the program's first line.
  const shipped = /^#!.* -S node (.*?)(?: --)?$/m.exec(readFileSync(program, 'utf8'))?.[1]?.split(' ') ?? []
  const flags = [
    ...shipped,
    ...more,
    ...(option('node')?.split(' ') ?? []),
    ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]),
  ]
  const child = spawn(process.execPath, [...flags, program, 'serve'], {
    env: environment(all),
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  atEnd(async () => {
    await end(child, 10_000)
    removeFolder(directory)
  })
  const read = () => readFileSync(file, 'utf8')
  const listening = (what: string) => {
    const line = read()
      .split('\n')
      .find((each) => each.includes(`"msg":"listening for ${what}"`))
    return line === undefined ? undefined : (JSON.parse(line) as { port: number }).port
  }
  const port = await waitUntil(
    () => {
      if (child.exitCode !== null) throw new Error(`Spillway has ended:\n${read()}`)
      return listening('the operator') === undefined ? undefined : listening('mail')
    },
    START_MS,
    () => `Spillway does not start:\n${read()}`,
  )
  const admin = listening('the operator') as number
  const pid = child.pid as number
  return {
    port,
    pid,
    admin,
    log: file,
    ended,
    pids: () => [pid],
    cpuMs: () => cpuMs([pid]),
    stop: () => end(child, 10_000),
    kill: () => end(child, 1_000, 'SIGKILL'),
    async counters() {
      const text = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text()
      const sums = new Map<string, number>()
      for (const [, series = '', value] of text.matchAll(/^(?!#)(\S+) (\S+)$/gm)) {
        const name = series.replace(/\{.*$/, '')
        if (name !== series) sums.set(series, Number(value))
        sums.set(name, (sums.get(name) ?? 0) + Number(value))
      }
      return sums
    },
  }
}

/** Starts a server of bench/bare.ts. */
export async function startBare(what: 'refuse' | 'drop' | 'pipe', number: number): Promise<Contender> {
  const child = fork(join(import.meta.dirname, 'bare.ts'), [what, String(number)])
  atEnd(() => end(child, 1_000))
  const [{ port }] = (await once(child, 'message')) as [{ port: number }]
  const pids = () => [child.pid as number]
  return { port, pids, cpuMs: () => cpuMs(pids()) }
}

export interface Load {
  /** Rejects if it takes longer than `ms`. */
  order(order: Order, ms?: number): Promise<Tally>
}

/** Starts the clients of bench/load.ts. */
export function startLoad(): Load {
  const child = fork(join(import.meta.dirname, 'load.ts'))
  atEnd(() => end(child, 1_000))
  return {
    async order(order, ms = 120_000) {
      const answer = once(child, 'message', { signal: AbortSignal.timeout(ms) })
      child.send(order)
      try {
        const [tally] = (await answer) as [Tally]
        return tally
      } catch {
        throw new Error(`the clients are not done with ${order.kind} in ${ms} ms`)
      }
    },
  }
}

/** Rounds to measure; fewer with `--rounds N`, for a quick look. */
export const rounds = (): number => Number(option('rounds') ?? ROUNDS)

/** The value of `--name VALUE` on the command line. */
export function option(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
