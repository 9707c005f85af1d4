/** `spillway reload`: what it asks of a running node, what it prints, and its exit code. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { readRequest } from '../../src/admin/request.ts'
import { createRouter, type RouteParts } from '../../src/admin/routes.ts'
import { reload } from '../../src/cli/reload.ts'
import type { ReloadReport } from '../../src/config/reload.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { failure, loadWith, machine } from '../config/given.ts'
import { freePorts } from '../services/ports.ts'
import { NO_BANS, NO_ORDERS_GIVEN } from '../support/bans.ts'
import { Program, run, SERVE_ENV } from '../support/program.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})
const words = { json: false }

describe('with a program that runs', () => {
  let file: string
  let env: Record<string, string>
  beforeEach(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-reload-verb-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    file = join(folder, 'env')
    const [port] = await freePorts(1)
    env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}`, SPILLWAY_ADMIN_TOKEN: 'a-token-of-some-length' }
  })
  const write = (...lines: string[]): void => writeFileSync(file, `${lines.join('\n')}\n`)
  const verb = (...more: string[]) => run(['reload', '--env-file', file, ...more], { env })
  const begin = async (): Promise<void> => {
    const program = new Program(['serve', '--env-file', file], { env })
    ends.push(() => program.end())
    await program.logged('listening for mail')
  }

  test('it tells what has changed, what needs a restart, and what is wrong', async () => {
    write('SPILLWAY_IDLE_TIMEOUT=5m')
    await begin()
    write('SPILLWAY_IDLE_TIMEOUT=1m', 'SPILLWAY_DENY=192.0.2.1', 'SPILLWAY_REDIS_PREFIX=other:')
    const { code, output } = await verb()
    expect(output).toMatch(
      /^In force from now on \([0-9a-f]{12}\):\n {2}SPILLWAY_IDLE_TIMEOUT {2}5m -> 1m\n {2}SPILLWAY_DENY {2}none -> 192\.0\.2\.1\/32\nThese need a restart\. .*\n {2}SPILLWAY_REDIS_PREFIX {2}spillway: -> other:\n$/,
    )
    expect(code).toBe(0)
    const again = await verb('--json')
    expect(JSON.parse(again.output)).toMatchObject({
      result: 'ok',
      changed: [],
      needsRestart: [{ setting: 'SPILLWAY_REDIS_PREFIX' }],
      mistakes: [],
    })
    expect(again.code).toBe(0)
    write('SPILLWAY_IDLE_TIMEOUT=1')
    const wrong = await verb()
    expect(wrong.output).toMatch(/One mistake[\s\S]*SPILLWAY_IDLE_TIMEOUT=1\n[\s\S]*env:1[\s\S]*keeps its settings/)
    expect(wrong.code).toBe(78)
  }, 60_000)

  test('where none runs, it says so', async () => {
    write('SPILLWAY_IDLE_TIMEOUT=5m')
    const { code, output } = await verb()
    expect(output).toMatch(/^Nothing listens at 127\.0\.0\.1:\d+ \(SPILLWAY_ADMIN_LISTEN\)\. Is Spillway running/)
    expect(code).toBe(1)
  }, 30_000)
})

async function listening(server: Server): Promise<ReturnType<typeof loadWith>> {
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => open.add(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return loadWith({ SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${port}`, SPILLWAY_ADMIN_TOKEN: 'a-token-of-some-length' })
}
const anyHttp = (listener: RequestListener) => listening(createServer(listener))

/** The admin port as a caller off loopback sees it. @param local our address on the connection */
function away(parts: Partial<RouteParts>, local = '192.0.2.1') {
  const nothing = (): never => {
    throw new Error('not asked for')
  }
  const usual = {
    ...{ metrics: nothing, status: nothing, reload: nothing, names: () => [], clock: SYSTEM_CLOCK },
    ...{ upstreams: () => [], reported: nothing, feedback: nothing, bans: NO_BANS, orders: NO_ORDERS_GIVEN },
  }
  const answer = createRouter({ ...usual, token: () => undefined, ...parts })
  return anyHttp(async ({ method, url, headers }, response) => {
    const head = [`${method} ${url} HTTP/1.1`, 'Host: localhost', `Authorization: ${headers.authorization ?? ''}`]
    const asked = readRequest(head.join('\r\n'))
    const { code, body } = 'code' in asked ? asked : await answer(asked, local)
    response.writeHead(code).end(body)
  })
}
const reporting = (report: Partial<ReloadReport>) =>
  away({
    token: () => 'a-token-of-some-length',
    reload: async () => ({ result: 'failed', hash: '0', changed: [], needsRestart: [], mistakes: [], ...report }),
  })

test('it presents the token of the settings', async () => {
  expect(await reload(await reporting({ result: 'ok' }), words)).toMatchObject({ code: 0 })
  const wrong = await reload(await away({ token: () => 'another-token-of-that-length' }), words)
  expect(wrong).toEqual({ code: 1, output: expect.stringContaining('does not take the token of SPILLWAY_ADMIN_TOKEN') })
  expect(wrong.output).not.toContain('a-token')
  const loaded = await away({ token: () => 'another-token-of-that-length' })
  const none = { ...loaded, settings: { ...loaded.settings, adminToken: undefined } }
  expect(await reload(none, words)).toEqual({ code: 1, output: expect.stringContaining('wants a token') })
})

test('of a node that has no token it says what to do: send SIGHUP, which needs none, or give it one', async () => {
  const told = await reload(await away({ token: () => undefined }, '127.0.0.1'), words)
  expect(told).toEqual({
    code: 1,
    output: expect.stringMatching(/has no token, .*Set SPILLWAY_ADMIN_TOKEN_FILE.*SIGHUP/),
  })
})

test('the mistakes that the node finds are told, and an error of it', async () => {
  const mistake = { name: 'SPILLWAY_DENY', value: 'x\u001b[2J', origin: 'environment', expected: 'y', default: 'none' }
  const { output, code } = await reload(await reporting({ mistakes: [mistake] }), words)
  expect(output).toContain('SPILLWAY_DENY=x')
  expect(output).not.toContain('\u001b')
  expect(code).toBe(78)
  expect(await reload(await reporting({ error: 'out of \u202ememory' }), words)).toEqual({
    code: 1,
    output: 'The settings stay as they were: out of \\u202ememory.\n',
  })
})

test('a secret that has changed is not shown', async () => {
  const changed = [{ setting: 'SPILLWAY_ADMIN_TOKEN', before: '(hidden)', read: '(hidden)' } as const]
  const { output } = await reload(await reporting({ result: 'ok', changed }), words)
  expect(output).toContain('SPILLWAY_ADMIN_TOKEN  has another value')
})

test.each<[string, RequestListener, RegExp]>([
  ['another program', (_, response) => void response.end('{"result":"ok"}'), /status 200 is not Spillway/],
  [
    'a redirect',
    (_, response) => void response.writeHead(302, { Location: 'http://127.0.0.1:1/' }).end(),
    /status 302/,
  ],
  ['one that hangs up', (_, response) => void response.destroy(), /closed the connection without an answer/],
  [
    'one that never ends',
    (_, response) => void setInterval(() => response.write('x'.repeat(1 << 20)), 1).unref(),
    /too long/,
  ],
])('where %s answers, it says so and ends', async (_, listener, what) => {
  expect(await reload(await anyHttp(listener), words)).toEqual({ code: 1, output: expect.stringMatching(what) })
})

test('where what answers is no HTTP, it says so', async () => {
  const loaded = await listening(
    createTcpServer((socket) => socket.on('error', () => undefined).write('220 hello\r\n')),
  )
  const { output, code } = await reload(loaded, { json: true })
  expect(JSON.parse(output)).toMatchObject({ result: 'failed', error: expect.stringContaining('cannot be asked') })
  expect(code).toBe(1)
})

test('a mistake in the settings as they are read here ends it before a node is asked', async () => {
  const error = failure(machine({ SPILLWAY_IDLE_TIMEOUT: '30' }))
  const { output, code } = await reload(error, { json: true })
  expect(code).toBe(78)
  expect(JSON.parse(output)).toMatchObject({ result: 'failed', changed: [] })
})

test('port 0 cannot be asked', async () => {
  const loaded = loadWith({ SPILLWAY_ADMIN_LISTEN: '127.0.0.1:0' })
  expect(await reload(loaded, words)).toEqual({ code: 1, output: expect.stringContaining('has port 0') })
})
