/** The program within what the unit leaves it: system calls, tasks. No systemd runs here, so the tests do as it would. */
import { execFile, execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, expect, test } from '@jest/globals'
import { command } from '../services/packages.ts'
import { connectClient } from '../support/client.ts'
import { Program, SERVE_ENV } from '../support/program.ts'
import { inRoot } from './image.ts'

const UNIT = inRoot('deploy/systemd/spillway.service')
const WITHIN = fileURLToPath(new URL('within-syscalls.py', import.meta.url))
const MOST_WORKERS = 64

let program: Program | undefined
afterEach(async () => {
  await program?.end()
  program = undefined
})

/** The system calls of a set, with those of the sets in it; or the one that is named. */
async function callsOf(set: string): Promise<string[]> {
  if (!set.startsWith('@')) return [set]
  const { path, env } = command('systemd-analyze')
  const options = { env: { ...process.env, ...env, NO_COLOR: '1' } }
  const { stdout } = await promisify(execFile)(path, ['syscall-filter', set], options)
  const names = [...stdout.matchAll(/^ {4}(@?[a-z0-9_-]+)$/gm)].map(([, name = '']) => name)
  const nested = await Promise.all(names.map(callsOf))
  return nested.flat()
}

/** What the lines SystemCallFilter= leave, as in systemd.exec(5): the first says what is allowed, `~` takes away. */
async function allowedCalls(): Promise<string[]> {
  const allowed = new Set<string>()
  for (const [, not, sets = ''] of UNIT.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const set of sets.split(' ')) {
      for (const call of await callsOf(set)) {
        if (not === '~') allowed.delete(call)
        else allowed.add(call)
      }
    }
  }
  return [...allowed]
}

const tasksOf = (pid: number): number => readdirSync(`/proc/${pid}/task`).length
const childrenOf = (pid: number): number[] =>
  execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
    .trim()
    .split(/\s+/)
    .map(Number)

test('its system calls are enough for workers, a reload, and systemd-notify; its tasks for as many workers as there may be', async () => {
  const allowed = await allowedCalls()
  expect(allowed).toContain('execve')
  expect(allowed).not.toContain('setuid')
  const python = command('python3')
  const notify = command('systemd-notify')
  const PATH = `${dirname(notify.path)}:${process.env.PATH}`
  program = new Program(['serve'], {
    // Nobody listens there: systemd-notify gets as far as to say so.
    env: { ...notify.env, ...python.env, ...SERVE_ENV, PATH, SPILLWAY_WORKERS: '2', NOTIFY_SOCKET: '@nobody' },
    within: [python.path, WITHIN, allowed.join(',')],
  })
  await program.logged('all workers serve')
  const { port } = await program.logged('listening for mail')
  const client = await connectClient(Number(port))
  await client.hello()
  client.destroy()
  const { err } = await program.logged('systemd cannot be told how the service is')
  expect(err).toMatch(/Connection refused/)

  const pid = program.child.pid ?? 0
  const workers = childrenOf(pid).map(tasksOf)
  expect(workers).toHaveLength(2)
  // While it reloads, a node has one thread more, and that one its own.
  const most = tasksOf(pid) * 2 + Math.max(...workers) * MOST_WORKERS
  expect(Number(/^TasksMax=(\d+)$/m.exec(UNIT)?.[1])).toBeGreaterThan(most)

  program.child.kill('SIGHUP')
  await program.logged('settings read again: none has changed')
  program.child.kill('SIGTERM')
  expect(await program.exited).toBe(0)
}, 30_000)
