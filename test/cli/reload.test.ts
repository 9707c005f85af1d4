/** The running program reads its settings again: over SIGHUP and over POST, with files as operators have them. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { start } from '../../src/app.ts'
import { reread } from '../../src/cli/reread.ts'
import { load } from '../../src/config/load.ts'
import { readingOf } from '../../src/config/reload.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { AS_OPERATOR, eventually, testSources } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { Program, SERVE_ENV, TOKEN_ENV } from '../support/program.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-reload-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** The first line of a new connection. */
async function greeting(port: number, from: string): Promise<string> {
  const client = await connectClient(port, { from })
  const line = await client.reply()
  client.destroy()
  return line
}

describe('the program', () => {
  let program: Program
  afterEach(() => program.end())

  const write = (name: string, ...lines: string[]): void => writeFileSync(join(folder, name), `${lines.join('\n')}\n`)
  /** Waits for the n-th line of the log that fits. */
  const logged = (fits: RegExp, n = 1): Promise<Record<string, unknown>[]> =>
    eventually(
      () => program.log.filter(({ msg }) => fits.test(String(msg))),
      (lines) => lines.length >= n,
    )

  async function begin(): Promise<{ port: number; admin: number }> {
    const { SPILLWAY_HOSTNAME, ...env } = SERVE_ENV
    program = new Program(['serve'], {
      env: { ...env, ...TOKEN_ENV, SPILLWAY_ENV_FILE: join(folder, 'env'), SPILLWAY_ALLOW_FILE: join(folder, 'allow') },
    })
    const { port } = await program.logged('listening for mail')
    const { port: admin } = await program.logged('listening for the operator')
    return { port: Number(port), admin: Number(admin) }
  }

  test('on SIGHUP: env file, NAME_FILE and @ list; a mistake keeps the old ones, and the next try takes the right ones', async () => {
    const deny = `SPILLWAY_DENY=@${join(folder, 'deny')}`
    write('env', 'SPILLWAY_HOSTNAME=mx.test.example', deny, 'SPILLWAY_LIMIT_IP_CONCURRENCY=100')
    write('deny', '192.0.2.0/24')
    write('allow', '192.0.2.7')
    const { port } = await begin()
    expect(await greeting(port, '127.0.0.3')).toMatch(/^220/)
    expect(await greeting(port, '127.0.0.4')).toMatch(/^220/)

    write('deny', '192.0.2.0/24', '127.0.0.3', '127.0.0.4 # both')
    write('allow', '127.0.0.4')
    program.child.kill('SIGHUP')
    const [changed] = await logged(/^settings changed/)
    expect(changed).toMatchObject({
      by: 'SIGHUP',
      changed: [{ setting: 'SPILLWAY_ALLOW' }, { setting: 'SPILLWAY_DENY' }],
    })
    expect(await greeting(port, '127.0.0.3')).toMatch(/^554 5\.7\.1/)
    expect(await greeting(port, '127.0.0.4')).toMatch(/^220/)

    // One mistake, in another file than what is right.
    write('deny', '192.0.2.0/24')
    write('env', 'SPILLWAY_HOSTNAME=mx.test.example', deny, 'SPILLWAY_LIMIT_IP_CONCURRENCY=many')
    program.child.kill('SIGHUP')
    await logged(/^reload failed/)
    const [wrong] = await logged(/^SPILLWAY_LIMIT_IP_CONCURRENCY is wrong/)
    expect(wrong).toMatchObject({
      level: 'error',
      value: 'many',
      origin: `env file ${join(folder, 'env')}:3`,
      expected: expect.stringContaining('off'),
    })
    expect(await greeting(port, '127.0.0.3')).toMatch(/^554 5\.7\.1/)

    write('env', 'SPILLWAY_HOSTNAME=other.test.example', deny, 'SPILLWAY_LIMIT_IP_CONCURRENCY=99')
    program.child.kill('SIGHUP')
    await logged(/^settings changed/, 2)
    await logged(/^SPILLWAY_HOSTNAME needs a restart/)
    expect(await greeting(port, '127.0.0.3')).toMatch(/^220 mx\.test\.example/)
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
  }, 60_000)

  test('a list that is empty or is no file is not taken: somebody may be writing it', async () => {
    const deny = join(folder, 'deny')
    write('env', 'SPILLWAY_HOSTNAME=mx.test.example', `SPILLWAY_DENY=@${deny}`)
    write('deny', '127.0.0.3')
    write('allow', 'none')
    const { port } = await begin()
    writeFileSync(deny, '')
    program.child.kill('SIGHUP')
    const [empty] = await logged(/^SPILLWAY_DENY is wrong/)
    expect(empty).toMatchObject({ expected: expect.stringContaining('it is empty: is it being written?') })
    rmSync(deny)
    execFileSync('mkfifo', [deny])
    program.child.kill('SIGHUP')
    const [, fifo] = await logged(/^SPILLWAY_DENY is wrong/, 2)
    expect(fifo).toMatchObject({ expected: expect.stringContaining('not a regular file') })
    expect(await greeting(port, '127.0.0.3')).toMatch(/^554 5\.7\.1/)
    rmSync(deny)
    write('deny', '# nobody')
    program.child.kill('SIGHUP')
    await logged(/^settings changed/)
    expect(await greeting(port, '127.0.0.3')).toMatch(/^220/)
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
  }, 60_000)

  test('on SIGHUP while it starts: once it has started', async () => {
    // The start waits a second for a Redis that is not there.
    program = new Program(['serve'], { env: { ...SERVE_ENV, SPILLWAY_REDIS_URL: 'redis://127.0.0.1:1' } })
    await program.logged(/^STARTTLS is not offered/)
    expect(program.log.some(({ msg }) => msg === 'listening for mail')).toBe(false)
    program.child.kill('SIGHUP')
    await logged(/^settings read again: none has changed/)
    expect(program.log.some(({ msg }) => msg === 'listening for mail')).toBe(true)
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
  }, 60_000)

  test('on POST, which tells the outcome', async () => {
    write('env', 'SPILLWAY_HOSTNAME=mx.test.example', 'SPILLWAY_LIMIT_IP_MESSAGES=10/1h')
    write('allow', 'none')
    const { admin } = await begin()
    const post = async (): Promise<{ status: number; body: Record<string, unknown> }> => {
      const response = await fetch(`http://127.0.0.1:${admin}/api/v1/reload`, { method: 'POST', headers: AS_OPERATOR })
      return { status: response.status, body: (await response.json()) as Record<string, unknown> }
    }
    write('env', 'SPILLWAY_HOSTNAME=mx.test.example', 'SPILLWAY_LIMIT_IP_MESSAGES=20/1h', 'SPILLWAY_WORKERS=2')
    expect(await post()).toMatchObject({
      status: 200,
      body: {
        result: 'ok',
        changed: [{ setting: 'SPILLWAY_LIMIT_IP_MESSAGES', before: '10/1h', read: '20/1h' }],
        needsRestart: [{ setting: 'SPILLWAY_WORKERS' }],
      },
    })
    write('env', 'SPILLWAY_HOSTNAM=mx.test.example')
    expect(await post()).toMatchObject({
      status: 422,
      body: {
        result: 'failed',
        changed: [],
        mistakes: [{ name: 'SPILLWAY_HOSTNAM', expected: expect.stringContaining('did you mean SPILLWAY_HOSTNAME?') }],
      },
    })
  }, 60_000)
})

describe('a list of 100,000 networks', () => {
  /** The longest gap of the event loop that a reload may make. */
  const MOST_MS = 20

  /**
   * Measures how long this thread works between two turns of its event loop. It is CPU time, because on a busy machine other
   * programs make longer gaps than a reload does.
   */
  function probeLoop(): { longest(): Promise<number> } {
    const cpuMs = (): number => {
      const { user, system } = process.threadCpuUsage()
      return (user + system) / 1000
    }
    let last = cpuMs()
    let longest = 0
    const timer = setInterval(() => {
      const now = cpuMs()
      longest = Math.max(longest, now - last)
      last = now
    }, 1)
    return {
      async longest() {
        // What is going on is seen at its end.
        await setTimeout(20)
        clearInterval(timer)
        return longest
      },
    }
  }
  /** 80,000 addresses and 20,000 networks, none beside another. */
  const lines = Array.from({ length: 100_000 }, (_, i) =>
    i % 5 === 0
      ? `2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}00::/64`
      : `${11 + (i % 100)}.${(i >> 8) & 255}.${i & 255}.${(i * 7) & 255}`,
  )

  test('is read by a thread that leaves the cores to mail', async () => {
    const list = join(folder, 'deny')
    writeFileSync(list, lines.join('\n'))
    const { env, hostname, openFiles } = testSources('127.0.0.1:1', { DENY: `@${list}` })
    // The 19th field; the second one is a name and may hold anything (proc(5)).
    const niceness = (): number[] =>
      readdirSync('/proc/self/task').map((thread) => {
        const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16])
      })
    const before = niceness()
    const reading = reread({ env, hostname, openFiles })
    const seen = await eventually(niceness, (all) => all.includes(19))
    expect(seen.filter((nice) => nice === 19)).toHaveLength(1)
    expect(before).not.toContain(19)
    expect(await reading).toHaveProperty('reading')
  })

  test('is read again while the event loop goes on, and whoever is on it is refused at every moment', async () => {
    const list = join(folder, 'deny')
    writeFileSync(list, ['127.0.0.3', ...lines].join('\n'))
    const { env, hostname, openFiles, readFile } = testSources('127.0.0.1:1', { DENY: `@${list}`, OBSERVE: 'size' })
    const sources = { env, hostname, openFiles }
    const { settings } = load({ ...sources, readFile })
    const log = createLog({ level: 'info', destination: join(folder, 'log') })
    const running = await start({
      ...{ reading: readingOf({ settings, warnings: [] }), log, version: '0', machine: 'test' },
      reread: () => reread(sources),
    })
    const port = running.listening[0]?.port as number
    try {
      let longest = Number.POSITIVE_INFINITY
      // This process has the heap of many tests, and a collection of that may fall into one of the reloads.
      for (let i = 1; i <= 3 && longest >= MOST_MS; i++) {
        writeFileSync(list, [...lines.slice(i), '127.0.0.3'].join('\n'))
        const probe = probeLoop()
        const report = await running.reload?.('the test')
        longest = Math.min(longest, await probe.longest())
        expect(report).toMatchObject({ result: 'ok', changed: [{ setting: 'SPILLWAY_DENY' }] })
      }
      expect(longest).toBeLessThan(MOST_MS)

      writeFileSync(list, [...lines, '127.0.0.3'].join('\n'))
      let over = false
      const reload = running.reload?.('the test').then(() => {
        over = true
      })
      let refused = 0
      while (!over || refused < 10) {
        expect(await greeting(port, '127.0.0.3')).toMatch(/^554 5\.7\.1/)
        refused++
      }
      await reload
    } finally {
      await running.abort()
    }
  }, 60_000)
})
