/** What systemd is told (sd_notify(3)), by the real systemd-notify, over a real socket. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { command } from '../services/packages.ts'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { Program, SERVE_ENV } from '../support/program.ts'

const RECEIVER = fileURLToPath(new URL('notify-socket.pl', import.meta.url))
/** Hangs the event loop, as a bug would. */
const HANGS = "--import=data:text/javascript,process.on('SIGWINCH',()=>{for(;;);})"
const WATCHDOG_MS = 500

let folder: string
let receiver: ChildProcess
/** Each datagram so far. */
let told: string[]
let program: Program | undefined

const env = (more: Record<string, string> = {}): Record<string, string> => ({
  ...SERVE_ENV,
  NOTIFY_SOCKET: join(folder, 'notify'),
  PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
  ...more,
})

const hears = (what: string | RegExp, from = 0): Promise<number> =>
  eventually(
    () => told.findIndex((each, i) => i >= from && (typeof what === 'string' ? each === what : what.test(each))),
    (i) => i >= 0,
  )
const watchdogs = (): number => told.filter((each) => each === 'WATCHDOG=1').length

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-notify-'))
  const notify = command('systemd-notify')
  const settings = Object.entries(notify.env).map(([name, value]) => `${name}='${value}' `)
  const file = join(folder, 'bin', 'systemd-notify')
  mkdirSync(join(folder, 'bin'))
  writeFileSync(file, `#!/bin/sh\n${settings.join('')}exec ${notify.path} "$@"\n`)
  chmodSync(file, 0o755)
  told = []
  receiver = spawn('perl', [RECEIVER, join(folder, 'notify')], { stdio: ['ignore', 'pipe', 'inherit'] })
  if (receiver.stdout !== null) createInterface({ input: receiver.stdout }).on('line', (line) => told.push(line))
  await hears('bound')
  told = []
})
afterEach(async () => {
  await program?.end()
  program = undefined
  receiver.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

const listening = (server: Server): Promise<number> =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)))

describe.each(['1', '2'])('with SPILLWAY_WORKERS=%s, systemd is told', (workers) => {
  const WORKERS = { SPILLWAY_WORKERS: workers }

  test('that it is ready when it listens, that it reloads and is ready again, and that it stops; each once', async () => {
    const free = createServer()
    const port = await listening(free)
    free.close()
    program = new Program(['serve'], { env: env({ ...WORKERS, SPILLWAY_LISTEN: `127.0.0.1:${port}` }) })
    await hears('READY=1')
    const client = await connectClient(port)
    await client.hello()
    client.destroy()

    const before = process.hrtime.bigint() / 1000n
    program.child.kill('SIGHUP')
    await hears('READY=1', 1)
    const after = process.hrtime.bigint() / 1000n
    expect(told).toEqual(['READY=1', expect.stringMatching(/^RELOADING=1 \| MONOTONIC_USEC=\d+$/), 'READY=1'])
    const at = BigInt(told[1]?.split('=')[2] ?? '')
    expect(at >= before && at <= after).toBe(true)

    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
    await hears('STOPPING=1')
    expect(told.slice(3)).toEqual(['STOPPING=1'])
  })

  test('nothing by one that cannot start', async () => {
    const other = createServer()
    const taken = `127.0.0.1:${await listening(other)}`
    program = new Program(['serve'], { env: env({ ...WORKERS, SPILLWAY_LISTEN: taken }) })
    expect(await program.exited).toBe(1)
    expect(told).toEqual([])
    other.close()
  })

  test('that it is ready again after a reload with mistakes', async () => {
    const file = join(folder, 'spillway.env')
    writeFileSync(file, 'SPILLWAY_MAX_CONNECTIONS=100\n')
    program = new Program(['serve', '--env-file', file], { env: env(WORKERS) })
    await hears('READY=1')
    writeFileSync(file, 'SPILLWAY_MAX_CONNECTIONS=many\n')
    program.child.kill('SIGHUP')
    await hears('READY=1', 1)
    expect(told[1]).toMatch(/^RELOADING=1 /)
    await program.logged(/^reload failed/)
  })

  test('that it is alive, twice as often as the watchdog wants it, until its event loop hangs', async () => {
    const more = { ...WORKERS, WATCHDOG_USEC: String(WATCHDOG_MS * 1000), NODE_OPTIONS: HANGS }
    program = new Program(['serve'], { env: env(more) })
    await hears('WATCHDOG=1')
    expect(told[0]).toBe('READY=1')
    const begun = performance.now()
    await eventually(watchdogs, (n) => n >= 4)
    const three = performance.now() - begun
    expect(three).toBeGreaterThan(WATCHDOG_MS)
    // Three halves of the interval, and what a busy machine takes for three processes.
    expect(three).toBeLessThan(WATCHDOG_MS * 6)
    program.child.kill('SIGWINCH')
    // What was on its way when it hung may still arrive.
    await new Promise((resolve) => setTimeout(resolve, WATCHDOG_MS / 2))
    const last = watchdogs()
    await new Promise((resolve) => setTimeout(resolve, WATCHDOG_MS * 1.5))
    expect(watchdogs()).toBe(last)
  })
})

test('the watchdog of another process is not served', async () => {
  program = new Program(['serve'], { env: env({ WATCHDOG_USEC: '200000', WATCHDOG_PID: '1' }) })
  await hears('READY=1')
  // Five times as long as it would take.
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(told).toEqual(['READY=1'])
})

test('systemd-notify gets nothing of the settings', async () => {
  const spy = join(folder, 'bin', 'systemd-notify')
  writeFileSync(spy, `#!/bin/sh\ncat /proc/self/environ >${folder}/seen.tmp\nmv ${folder}/seen.tmp ${folder}/seen\n`)
  program = new Program(['serve'], { env: env({ SPILLWAY_ADMIN_TOKEN: 'k'.repeat(32) }) })
  await eventually(
    () => existsSync(`${folder}/seen`),
    (is) => is,
  )
  const seen = readFileSync(`${folder}/seen`, 'utf8')
  expect(seen).toContain('NOTIFY_SOCKET=')
  expect(seen).not.toContain('SPILLWAY_')
})

test('without systemd-notify it warns once, says what to do, and serves', async () => {
  const bare = { PATH: join(folder, 'nothing'), WATCHDOG_USEC: '200000' }
  program = new Program(['serve'], { env: env(bare) })
  const { port } = await program.logged('listening for mail')
  const { level, err } = await program.logged('systemd cannot be told how the service is')
  expect(level).toBe('warn')
  expect(err).toMatch(/systemd-notify.*install it.*Type=exec/)
  program.child.kill('SIGHUP')
  await program.logged('settings read again: none has changed')
  const client = await connectClient(Number(port))
  await client.hello()
  client.destroy()
  program.child.kill('SIGTERM')
  expect(await program.exited).toBe(0)
  expect(program.log.filter(({ msg }) => msg === 'systemd cannot be told how the service is')).toHaveLength(1)
})
