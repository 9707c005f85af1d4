/** Sockets that a service manager passes (sd_listen_fds(3)): by the real systemd-socket-activate, and wrong ones by a script. */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from '@jest/globals'
import { askNode } from '../../src/cli/ask-node.ts'
import { command } from '../services/packages.ts'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { Program, run, SERVE_ENV } from '../support/program.ts'

const PASSER = fileURLToPath(new URL('pass-sockets.pl', import.meta.url))
const passing = (...kinds: string[]): string[] => ['perl', PASSER, kinds.join(',')]

let program: Program | undefined
afterEach(async () => {
  await program?.end()
  program = undefined
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Opens these as systemd would, and starts the program at the first connection. */
function activated(sockets: Readonly<Record<string, number>>, env: Readonly<Record<string, string>>): Program {
  const { path, env: libraries } = command('systemd-socket-activate')
  const listens = Object.values(sockets).flatMap((port) => ['-l', `127.0.0.1:${port}`])
  const settings = Object.entries(env).flatMap(([name, value]) => ['-E', `${name}=${value}`])
  const names = `--fdname=${Object.keys(sockets).join(':')}`
  return new Program(['serve'], { env: libraries, within: [path, ...listens, names, ...settings] })
}

describe.each(['1', '2'])('systemd-socket-activate, with SPILLWAY_WORKERS=%s', (workers) => {
  test('whoever connected before the program ran is greeted; the socket named admin answers the operator', async () => {
    const ports = { smtp: await freePort(), admin: await freePort() }
    const folder = mkdtempSync(join(tmpdir(), 'spillway-passed-'))
    const socket = join(folder, 'admin.sock')
    const both = { SPILLWAY_ADMIN_LISTEN: `127.0.0.1:0,unix:${socket}`, SPILLWAY_WORKERS: workers }
    program = activated(ports, { ...SERVE_ENV, ...both })
    await eventually(
      () => program?.err.match(/Listening on/g)?.length,
      (n) => n === 2,
    )
    const client = await connectClient(ports.smtp)
    await client.hello()
    client.destroy()
    const listening = await program.logged('listening for mail')
    expect(listening).toMatchObject({ host: '127.0.0.1', port: ports.smtp })
    const response = await fetch(`http://127.0.0.1:${ports.admin}/readyz`)
    expect(response.status).toBe(200)
    // The service manager passes no socket in the file system.
    const local = { adminListen: { host: '127.0.0.1', port: 0, socket }, adminToken: undefined }
    expect(await askNode(local, { method: 'GET', path: '/livez', longestMs: 5000 })).toMatchObject({ status: 200 })
    // Both stand in the settings, and are not used.
    for (const name of ['SPILLWAY_LISTEN', 'SPILLWAY_ADMIN_LISTEN, but for its unix: socket,'])
      expect(await program.logged(new RegExp(`^${name} is not listened on`))).toMatchObject({ level: 'warn' })
    if (workers !== '1') await program.logged('all workers serve')
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
    rmSync(folder, { recursive: true })
  })
})

test('without SPILLWAY_LISTEN in the settings nothing is said of it', async () => {
  const { SPILLWAY_LISTEN: _, ...env } = SERVE_ENV
  program = new Program(['serve'], { env, within: passing('tcp') })
  await program.logged('listening for the operator')
  expect(program.out).not.toContain('is not listened on')
})

test('those of another process are not touched', async () => {
  program = new Program(['serve'], { env: { ...SERVE_ENV, LISTEN_PID: '1' }, within: passing('tcp') })
  const { port } = await program.logged('listening for mail')
  const socket = connect(Number(port), '127.0.0.1')
  await new Promise((resolve) => socket.once('data', resolve))
  socket.destroy()
  expect(program.out).not.toContain('is not listened on')
})

describe('what cannot be used is told with what to do:', () => {
  test.each([
    ['more than were passed', { LISTEN_FDS: '2' }, ['tcp'], /file descriptor 4 is no socket: pass as many as it says/],
    ['a million', { LISTEN_FDS: '1000000' }, ['tcp'], /file descriptor 4 is no socket/],
    ['no number', { LISTEN_FDS: 'one' }, ['tcp'], /LISTEN_FDS="one" is not the number.*let systemd set it/],
    ['none', { LISTEN_FDS: '0' }, ['tcp'], /LISTEN_FDS="0" is not the number/],
    ['a file', {}, ['file'], /file descriptor 3 is no socket/],
    ['too few names', { LISTEN_FDNAMES: 'smtp' }, ['tcp', 'tcp'], /names 1 of the 2 sockets.*name each/],
    ['two admins', { LISTEN_FDNAMES: 'admin:admin' }, ['tcp', 'tcp'], /"admin".*in one socket unit/],
  ])('%s', async (_, env, kinds, message) => {
    const { code, output } = await run(['serve'], { env: { ...SERVE_ENV, ...env }, within: passing(...kinds) })
    expect(output).toMatch(message)
    // One sentence, and no stack.
    expect(output.trim().split('\n')).toHaveLength(1)
    expect(code).toBe(78)
  })

  test.each([
    ['udp', 'smtp', '1'],
    ['unix', 'smtp', '2'],
    ['unix', 'admin', '1'],
    ['connected', 'smtp', '1'],
    ['connected', 'admin', '2'],
  ])('%s as %s, with SPILLWAY_WORKERS=%s', async (kind, name, workers) => {
    const env = { ...SERVE_ENV, LISTEN_FDNAMES: name, SPILLWAY_WORKERS: workers }
    const { code, output } = await run(['serve'], { env, within: passing(kind) })
    const line = output.split('\n').find((each) => each.includes('"cannot start"'))
    expect(JSON.parse(line ?? output)).toMatchObject({
      err: expect.stringMatching(/EINVAL/),
      setting: 'LISTEN_FDS',
      advice: expect.stringMatching(/must pass TCP sockets that listen: ListenStream= with a port, and no Accept=yes/),
    })
    expect(code).toBe(1)
  })
})
