// Server processes of tests: started in a process group of their own, ended as a whole, and never left behind.
//
// A test run that is killed gets no chance to tidy up. So each server has a guard, a shell that waits for the test
// process to go away (its end of a pipe closes) and then ends the server's group and removes its directory.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { command } from './packages.ts'

/** Calls `probe` until it gives something other than undefined; rejects with `what` when `ms` have passed. */
export async function waitUntil<T>(
  probe: () => T | undefined | Promise<T | undefined>,
  ms: number,
  what: () => string,
): Promise<T> {
  const deadline = performance.now() + ms
  for (;;) {
    const found = await probe()
    if (found !== undefined) return found
    if (performance.now() >= deadline) throw new Error(`${what()} (waited ${ms} ms)`)
    await sleep(10)
  }
}

export interface Output {
  readonly code: number | null
  /** What it wrote to stdout and stderr, in the order in which it came. */
  readonly output: string
}

/** Runs a command of the test packages to its end, e.g. `runCommand('swaks', ['--to', …])`, for at most `ms`. */
export async function runCommand(name: string, args: readonly string[], ms = 15_000): Promise<Output> {
  const { path, env } = command(name)
  return runProgram([path, ...args], { env: { ...process.env, ...env }, timeout: ms })
}

/** Runs any program to its end, with `input` as its stdin where it is told. */
export async function runProgram(
  [path, ...args]: readonly string[],
  options: SpawnOptions & { readonly input?: string | Buffer } = {},
): Promise<Output> {
  const child = spawn(path as string, args, { timeout: 15_000, ...options, stdio: 'pipe' })
  // A program that ends without having read it all says so itself.
  child.stdin.on('error', () => undefined).end(options.input ?? '')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

/** A server that runs in the foreground, with all the processes it starts. */
export interface Server {
  readonly pid: number
  /** What it wrote to stdout and stderr so far. */
  output(): string
  running(): boolean
  /** All its processes that are there now. */
  pids(): number[]
  /** CPU time, user and system, that its processes have used so far, those that have ended included. */
  cpuMs(): number
  signal(signal: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL for what is left after `ms`; resolves when no process is left and `directory` is gone. */
  stop(ms?: number): Promise<void>
}

/**
 * Starts a command of the test packages as the leader of a process group of its own.
 * `directory` is the server's own; it goes when the server goes. `enter` are the words that run it in its namespace, and
 * `root` is where its package lies there (see namespace.ts).
 */
export function startServer(
  name: string,
  args: readonly string[],
  directory: string,
  { enter = [], root }: { readonly enter?: readonly string[]; readonly root?: string } = {},
): Server {
  const { path, env } = command(name, root)
  const [first, ...others] = [...enter, path, ...args] as [string, ...string[]]
  const child = spawn(first, others, {
    cwd: directory,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  child.on('error', (error) => (output += error.message))
  const pid = child.pid
  if (pid === undefined) throw new Error(`${path} does not start`)
  const guard = startGuard(pid, directory)
  const gone = async (ms: number) =>
    waitUntil(
      () => (groupOf(pid).length === 0 ? true : undefined),
      ms,
      () => `${name} does not end`,
    )

  return {
    pid,
    output: () => output,
    running: () => child.exitCode === null && child.signalCode === null,
    pids: () => groupOf(pid).map((stat) => stat.pid),
    cpuMs: () =>
      groupOf(pid).reduce((sum, stat) => sum + stat.cpuMs + (stat.pid === pid ? stat.endedChildrenMs : 0), 0),
    signal: (signal) => signalGroup(pid, signal, false),
    async stop(ms = 5_000) {
      guard.kill('SIGKILL')
      signalGroup(pid, 'SIGTERM', true)
      await gone(ms).catch(async () => {
        signalGroup(pid, 'SIGKILL', true)
        await gone(ms)
      })
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function startGuard(group: number, directory: string): ChildProcess {
  const script = `cat >/dev/null
kill -TERM -"$1"
for tenth in 1 2 3 4 5 6 7 8 9 10; do kill -0 -"$1" || break; sleep 0.1; done
kill -KILL -"$1"
rm -rf "$2"`
  const guard = spawn('/bin/sh', ['-c', script, 'guard', String(group), directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  guard.unref()
  return guard
}

function signalGroup(leader: number, signal: NodeJS.Signals, whole: boolean): void {
  try {
    process.kill(whole ? -leader : leader, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Whether a process is there and not merely waiting to be reaped. */
export function alive(pid: number): boolean {
  const fields = statOf(pid)
  return fields !== undefined && fields[0] !== 'Z'
}

interface Stat {
  readonly pid: number
  readonly cpuMs: number
  /** CPU time of its children that have ended and that it has waited for. */
  readonly endedChildrenMs: number
}

/** Linux counts a process's CPU time in ticks of 10 ms, whatever the kernel's own tick is: proc(5), USER_HZ. */
const MS_PER_TICK = 10

function groupOf(leader: number): Stat[] {
  return readdirSync('/proc').flatMap((entry) => {
    const fields = /^\d+$/.test(entry) ? statOf(Number(entry)) : undefined
    if (fields === undefined || fields[0] === 'Z' || Number(fields[2]) !== leader) return []
    const ms = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) * MS_PER_TICK
    return [{ pid: Number(entry), cpuMs: ms(11), endedChildrenMs: ms(13) }]
  })
}

/** The fields of /proc/pid/stat from the third on (proc(5)): state, ppid, pgrp, …; 11 to 14 are the CPU times. */
function statOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name, which may itself hold spaces and parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
