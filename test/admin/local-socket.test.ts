/** The admin port as a socket in the file system: who may open it, what it may be asked, and what becomes of one that was left behind. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { Admin } from '../../src/admin/http.ts'
import { listenAt } from '../../src/admin/local-socket.ts'
import { askNode } from '../../src/cli/ask-node.ts'
import { budgetOf, Findings } from '../../src/cli/doctor/finding.ts'
import { aboutNode } from '../../src/cli/doctor/node.ts'
import { drain } from '../../src/cli/drain.ts'
import { adviceOn } from '../../src/cli/listen-advice.ts'
import { load } from '../../src/config/load.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { messageOf } from '../../src/core/errors.ts'
import { testSettings, testSources } from '../support/app.ts'
import { Program, SERVE_ENV } from '../support/program.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
const TOKEN = 'a-token-of-some-length'
const UPSTREAM = '127.0.0.1:1'
let folder: string
let socket: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-socket-'))
  socket = join(folder, 'admin.sock')
})
afterEach(() => rmSync(folder, { recursive: true }))

const settings = (more: Record<string, string> = {}) => ({
  ...{ ADMIN_LISTEN: `127.0.0.1:0,unix:${socket}`, ADMIN_TOKEN: TOKEN },
  ...more,
})
const begin = () => started.app(UPSTREAM, settings())
const ask = (method: 'GET' | 'POST', path: string, body?: string) =>
  askNode(testSettings(UPSTREAM, settings({ ADMIN_TOKEN: 'none' })), {
    ...{ method, path, longestMs: 5000 },
    ...(body !== undefined && { body }),
  })

test('it reads and writes without a token, and is for its owner and group alone', async () => {
  const app = await begin()
  expect(statSync(socket).mode & 0o777).toBe(0o660)
  expect((await ask('GET', '/api/v1/status')).status).toBe(200)
  expect(await ask('POST', '/api/v1/drain', '{}')).toMatchObject({ status: 200 })
  expect((await app.get('/readyz')).status).toBe(503)
  const found = new Findings('machine')
  await aboutNode(testSettings(UPSTREAM, settings()), found, budgetOf(5000))
  expect(found.all[0]).toMatchObject({
    ...{ state: 'WARN', subject: 'node', cure: 'spillway undrain' },
    text: expect.stringMatching(/^it runs, and the operator has drained it since 2.*: version /),
  })
  // Over the port the token is needed as before.
  const response = await fetch(`http://127.0.0.1:${app.adminPort}/api/v1/undrain`, { method: 'POST' })
  expect(response.status).toBe(401)
  const told = await drain('undrain', load(testSources(UPSTREAM, settings())), [], { json: false })
  expect(told).toMatchObject({ code: 0, output: expect.stringContaining('The node is not drained.') })
  await app.stop()
  expect(existsSync(socket)).toBe(false)
})

/** A process that is killed leaves it behind. */
function leaveBehind(): void {
  const script = `require('node:net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', script])
  expect(existsSync(socket)).toBe(true)
}

test('of several that start at once one has the place of what was left behind, and none loses its own to another', async () => {
  leaveBehind()
  const servers = Array.from({ length: 8 }, (_, i) =>
    createServer((client) => client.on('error', () => undefined).end(String(i))),
  )
  try {
    const results = await Promise.allSettled(servers.map((server) => listenAt(server, socket, 5)))
    const [first, ...more] = results.flatMap(({ status }, i) => (status === 'fulfilled' ? [i] : []))
    expect(more).toEqual([])
    const client = connect(socket)
    const [said] = await once(client, 'data')
    expect(String(said)).toBe(String(first))
    expect(readdirSync(folder)).toEqual(['admin.sock'])
  } finally {
    for (const server of servers) server.close()
  }
})

test('one that was left behind is replaced; one that is answered, or any other file, is not', async () => {
  leaveBehind()
  await begin()
  expect((await ask('GET', '/livez')).status).toBe(200)
  const second = begin()
  await expect(second).rejects.toMatchObject({ code: 'EADDRINUSE', setting: 'SPILLWAY_ADMIN_LISTEN', address: socket })
  expect((await ask('GET', '/livez')).status).toBe(200)
  const file = join(folder, 'a-file')
  writeFileSync(file, 'mine')
  await expect(started.app(UPSTREAM, { ADMIN_LISTEN: `127.0.0.1:0,unix:${file}` })).rejects.toThrow()
  expect(statSync(file).size).toBe(4)
})

test.each(['1', '2'])('it never has another mode, with SPILLWAY_WORKERS=%s', async (workers) => {
  const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:0,unix:${socket}`, SPILLWAY_WORKERS: workers }
  // Nobody changes the mode of a file here: it has the one that it was made with.
  const chmod = "p.chmodSync=()=>{throw new Error('chmod')}"
  const program = new Program(['serve'], {
    env: {
      ...env,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`import p from 'node:fs';import{syncBuiltinESMExports as s}from'node:module';${chmod};s()`)}`,
    },
  })
  try {
    await program.logged('listening for the operator')
    expect(statSync(socket).mode & 0o777).toBe(0o660)
  } finally {
    await program.end()
  }
})

test('while another one has the socket, it can be tried again', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(socket, resolve))
  const admin = new Admin({ failed: () => undefined, clock: SYSTEM_CLOCK, bans: {} } as never)
  const at = { host: '127.0.0.1', port: 0, socket }
  try {
    await expect(admin.listen(at)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await expect(admin.listen(at)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await new Promise((resolve) => other.close(resolve))
    expect(await admin.listen(at)).toMatchObject({ socket })
  } finally {
    admin.close()
  }
})

test('where its folder is missing, it says what to do', async () => {
  const gone = join(folder, 'gone', 'admin.sock')
  const failure = await started
    .app(UPSTREAM, { ADMIN_LISTEN: `127.0.0.1:0,unix:${gone}` })
    .catch((error: unknown) => error)
  expect(adviceOn(failure as never, testSettings(UPSTREAM))).toContain('RuntimeDirectory=spillway')
})

test('if the port cannot be had, there is no socket', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  const at = `127.0.0.1:${port},unix:${socket}`
  await expect(started.app(UPSTREAM, { ADMIN_LISTEN: at })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  taken.close()
  expect(existsSync(socket)).toBe(false)
})

test('a verb that may not open it asks the port', async () => {
  const app = await begin()
  const at = (path: string) => ({ ADMIN_LISTEN: `127.0.0.1:${app.adminPort},unix:${path}`, ADMIN_TOKEN: TOKEN })
  const told = await drain('drain', load(testSources(UPSTREAM, at(join(folder, 'none')))), [], { json: true })
  expect(told.code).toBe(0)
  chmodSync(socket, 0)
  expect((await drain('undrain', load(testSources(UPSTREAM, at(socket))), [], { json: true })).code).toBe(0)
})

test.each([
  ['unix:/run/admin.sock', 'write 127.0.0.1:9025,unix:/run/admin.sock'],
  ['127.0.0.1:9025,unix:admin.sock', 'the whole path'],
  ['127.0.0.1:9025,unix:/run/', 'the whole path'],
  [`127.0.0.1:9025,unix:/${'x'.repeat(107)}`, 'at most 107 characters'],
  ['127.0.0.1:9025,[::1]:9025', 'one host:port only'],
  ['127.0.0.1:9025,unix:/a,unix:/b', 'one socket only'],
])('%s is told what to write', (given, hint) => {
  let said = ''
  try {
    testSettings(UPSTREAM, { ADMIN_LISTEN: given })
  } catch (error) {
    said = messageOf(error).replace(/\s+/g, ' ')
  }
  expect(said).toContain(hint)
})
