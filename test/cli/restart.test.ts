/** Restarts while clients come at 200 a second: none is refused or reset, whichever way the port is kept open. */
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from '@jest/globals'
import { AS_OPERATOR, eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { OWN_NETWORK, Program, SERVE_ENV, TOKEN_ENV } from '../support/program.ts'
import { startUpstream } from '../support/upstream.ts'

/** The command `npm run restarts` does it twenty times. */
const TIMES = 2
const HARNESS = fileURLToPath(new URL('restarts.ts', import.meta.url))
interface Counts {
  readonly served: number
  readonly putOff: number
  readonly refused: number
  readonly reset: number
  readonly other: number
  readonly codes: readonly number[]
}

async function restarts(mode: 'sockets' | 'takeover', workers: number): Promise<Counts> {
  const within = mode === 'takeover' ? OWN_NETWORK : []
  const [command = '', ...args] = [...within, process.execPath, HARNESS, mode, String(TIMES), String(workers)]
  const { stdout } = await promisify(execFile)(command, args).catch((error: { stdout: string }) => error)
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Counts
}

describe.each([1, 2])('%i process(es)', (workers) => {
  test.each(['sockets', 'takeover'] as const)(
    '%s: every client is greeted',
    async (mode) => {
      const { served, putOff, refused, reset, other, codes } = await restarts(mode, workers)
      expect({ refused, reset, other, codes }).toEqual({ refused: 0, reset: 0, other: 0, codes: Array(TIMES).fill(0) })
      expect(served).toBeGreaterThan(200)
      // Those that are greeted in the moment of the stop are asked to come back.
      expect(putOff).toBeLessThan(served / 10)
    },
    60_000,
  )
})

describe.each(['1', '2'])('taking over, %s process(es)', (workers) => {
  const programs: Program[] = []
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.end()
  })
  const start = (args: readonly string[], env: Record<string, string> = {}): Program => {
    const program = new Program(['serve', ...args], {
      env: { ...SERVE_ENV, ...TOKEN_ENV, SPILLWAY_WORKERS: workers, ...env },
    })
    programs.push(program)
    return program
  }

  test('where there is none to take over from, it starts as usual, and gives its place to whoever has its admin token', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as AddressInfo
    await new Promise((resolve) => other.close(resolve))
    const env = { SPILLWAY_ADMIN_TOKEN: 'a-token-that-nobody-guesses', SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}` }
    const program = start(['--take-over'], env)
    await program.logged('there is no Spillway to take over from')
    expect((await program.logged('listening for the operator')).port).toBe(port)
    // It is asked for where one is set, also of this machine.
    const ask = (token?: string) =>
      fetch(`http://127.0.0.1:${port}/api/v1/handover`, {
        method: 'POST',
        ...(token !== undefined && { headers: { Authorization: `Bearer ${token}` } }),
      })
    expect((await ask()).status).toBe(401)
    expect((await ask('another')).status).toBe(401)
    expect((await ask(env.SPILLWAY_ADMIN_TOKEN)).status).toBe(202)
    expect(await program.exited).toBe(0)
  })

  test('another program at the admin port is left alone, and this one does not start', async () => {
    const other = createServer((_, response) => response.writeHead(404).end('what?'))
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = other.address() as AddressInfo
      const program = start(['--take-over'], { SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}` })
      expect(await program.exited).toBe(1)
      expect(program.out).toContain('does not hand over: 404 what?')
    } finally {
      other.close()
    }
  })

  test('where it fails, what has come meanwhile has its time', async () => {
    const upstream = await startUpstream({
      script: (verb) => (verb === 'DOT' ? sleep(300).then(() => '250 2.0.0 Ok: late') : 'default'),
    })
    const other = createServer()
    let answer = (): void => undefined
    const asked = new Promise<void>((resolve) => {
      other.on('request', (_, response) => {
        answer = () => response.writeHead(404).end('what?')
        resolve()
      })
    })
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const free = createServer()
    await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve))
    const mail = (free.address() as AddressInfo).port
    await new Promise((resolve) => free.close(resolve))
    const program = start(['--take-over'], {
      SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${(other.address() as AddressInfo).port}`,
      SPILLWAY_LISTEN: `127.0.0.1:${mail}`,
      SPILLWAY_UPSTREAMS: upstream.address,
      SPILLWAY_RELAY_GUARD: 'off',
    })
    await asked
    const client = await connectClient(mail)
    try {
      await client.hello()
      for (const line of ['MAIL FROM:<a@a.example>', 'RCPT TO:<b@b.example>', 'DATA'])
        expect(await client.command(line)).toMatch(/^[23]/)
      answer()
      await eventually(
        () =>
          connectClient(mail).then(
            (late) => late.destroy(),
            () => 'refused',
          ),
        (result) => result === 'refused',
      )
      expect(await client.command('hello\r\n.')).toMatch(/^250/)
      expect(await program.exited).toBe(1)
    } finally {
      client.destroy()
      other.close()
      await upstream.stop()
    }
  })

  test('a session goes on at the one that it began with, until that is told to stop', async () => {
    const first = start([])
    const admin = (await first.logged('listening for the operator')).port
    const mail = (await first.logged('listening for mail')).port
    const env = { SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${admin}`, SPILLWAY_LISTEN: `127.0.0.1:${mail}` }
    const client = await connectClient(mail as number)
    try {
      await client.hello()
      expect(await client.command('MAIL FROM:<a@a.example>')).toMatch(/^250/)
      const next = start(['--take-over'], env)
      await next.logged('the Spillway before this one has handed over, and ends when its sessions have')
      expect(await first.logged('stopping')).toMatchObject({ by: 'handover' })
      // Their sessions of the same second have other ids.
      const numbers = (): unknown[] => [first, next].flatMap(({ log }) => log.flatMap(({ node }) => node ?? []))
      const all = await eventually(numbers, ({ length }) => length === 2 * Number(workers))
      expect(new Set(all).size).toBe(all.length)
      // The new one has the admin port by now.
      await next.logged('listening for the operator')
      expect(await client.command('RSET')).toMatch(/^250/)
      expect(await client.command('NOOP')).toMatch(/^250/)
      first.child.kill('SIGTERM')
      expect(await client.reply()).toMatch(/^421 /)
      expect(await first.exited).toBe(0)
      const late = await connectClient(mail as number)
      expect(await late.reply()).toMatch(/^220 /)
      late.destroy()
    } finally {
      client.destroy()
    }
  })

  test('one that is being stopped already is not ended by it: what is under way has its time', async () => {
    const upstream = await startUpstream()
    const first = start([], { SPILLWAY_UPSTREAMS: upstream.address, SPILLWAY_RELAY_GUARD: 'off' })
    const { port: admin } = await first.logged('listening for the operator')
    const { port: mail } = await first.logged('listening for mail')
    const client = await connectClient(mail as number)
    try {
      await client.hello()
      for (const line of ['MAIL FROM:<a@a.example>', 'RCPT TO:<b@b.example>', 'DATA'])
        expect(await client.command(line)).toMatch(/^[23]/)
      first.child.kill('SIGTERM')
      await first.logged('draining')
      expect(
        (await fetch(`http://127.0.0.1:${admin}/api/v1/handover`, { method: 'POST', headers: AS_OPERATOR })).status,
      ).toBe(202)
      expect(await client.command('hello\r\n.')).toMatch(/^250/)
      expect(await first.exited).toBe(0)
      expect(upstream.bodies()).toHaveLength(1)
    } finally {
      client.destroy()
      await upstream.stop()
    }
  })
})
