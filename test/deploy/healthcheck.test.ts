/** The health check as the image runs it: a process of its own, in the folder that the image has. */
import { execFile } from 'node:child_process'
import { renameSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { NO_ORDERS } from '../../src/core/orders.ts'
import { freePorts } from '../services/ports.ts'
import { startApp, type TestApp } from '../support/app.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { layImage } from './image.ts'

let app: string
let upstream: Upstream | undefined
beforeAll(async () => {
  app = await layImage()
  upstream = await startUpstream()
}, 60_000)
afterAll(async () => {
  await upstream?.stop()
  rmSync(app, { recursive: true })
})

const REQUIRED = { SPILLWAY_UPSTREAMS: 'mail.example.net:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'xclient' }

function check(env: Record<string, string>, ...args: string[]): Promise<{ code: unknown; said: string }> {
  return new Promise((resolve) => {
    const program = join(app, 'dist/main.js')
    const options = { cwd: app, env: { PATH: process.env.PATH, ...REQUIRED, ...env } }
    execFile(process.execPath, [program, 'healthcheck', ...args], options, (error, stdout) =>
      resolve({ code: error === null ? 0 : error.code, said: stdout.trim() }),
    )
  })
}

const nodes: TestApp[] = []
const startNode = async (settings: Record<string, string> = {}): Promise<TestApp> => {
  const node = await startApp((upstream as Upstream).address, settings)
  nodes.push(node)
  return node
}
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()))
})

describe('of a node', () => {
  test('that greets with 220: well', async () => {
    const node = await startNode()
    const { code, said } = await check({ SPILLWAY_LISTEN: `127.0.0.1:${node.port}` }, '--mail')
    expect([code, said]).toEqual([0, expect.stringMatching(/^220 mx\.test\.example /)])
  })

  test('that is full and says 421: well', async () => {
    const node = await startNode({ MAX_CONNECTIONS: '1' })
    const client = await node.client()
    await client.reply()
    const { code, said } = await check({ SPILLWAY_LISTEN: `0.0.0.0:${node.port},127.0.0.1:1` }, '--mail')
    expect([code, said]).toEqual([0, expect.stringMatching(/^421 4\.3\.2 /)])
  })

  test('that denies this machine: not well, and it says how it was greeted', async () => {
    const node = await startNode({ DENY: '127.0.0.0/8' })
    const { code, said } = await check({}, '--mail', `127.0.0.1:${node.port}`)
    expect([code, said]).toEqual([1, expect.stringMatching(/^554 5\.7\.1 /)])
  })

  test('that expects balancers on this machine: asked as a balancer asks', async () => {
    const balanced = { SPILLWAY_PROXY_PROTOCOL_FROM: '127.0.0.0/8' }
    const node = await startNode(balanced)
    const { code, said } = await check({ SPILLWAY_LISTEN: `127.0.0.1:${node.port}`, ...balanced }, '--mail')
    expect([code, said]).toEqual([0, expect.stringMatching(/^220 /)])
  })

  test('that is asked every few seconds: without loading what reads all settings', async () => {
    const node = await startNode()
    const settings = join(app, 'dist/config/settings.js')
    renameSync(settings, `${settings}.away`)
    try {
      for (const [env, args] of [
        [{ SPILLWAY_LISTEN: `127.0.0.1:${node.port}`, SPILLWAY_PROXY_PROTOCOL_FROM: '192.0.2.0/24' }, ['--mail']],
        [{}, ['--mail', `127.0.0.1:${node.port}`]],
      ] as const) {
        const { code, said } = await check(env, ...args)
        expect([code, said]).toEqual([0, expect.stringMatching(/^220 /)])
      }
    } finally {
      renameSync(`${settings}.away`, settings)
    }
  })

  test('that is not there: not well', async () => {
    const [port] = await freePorts(1)
    expect(await check({ SPILLWAY_LISTEN: `127.0.0.1:${port}` }, '--mail')).toEqual({
      code: 1,
      said: expect.stringContaining('ECONNREFUSED'),
    })
  })

  test('on IPv6 only: asked there', async () => {
    const [port] = await freePorts(1)
    const { code, said } = await check({ SPILLWAY_LISTEN: `[::]:${port}` }, '--mail')
    expect([code, said]).toEqual([1, expect.stringContaining(`::1:${port}`)])
  })

  test('whose admin port is asked: /livez, or /readyz, which a node that is drained says no to', async () => {
    const node = await startNode()
    const at = { SPILLWAY_ADMIN_LISTEN: `0.0.0.0:${node.adminPort}` }
    expect(await check(at)).toEqual({ code: 0, said: '/livez: ok' })
    expect(await check(at, '--ready')).toEqual({ code: 0, said: '/readyz: ok' })
    node.running.obey({ ...NO_ORDERS, drainedSince: Date.now() })
    expect(await check(at, '--ready')).toEqual({ code: 1, said: 'not ready' })
    expect(await check(at, '--json')).toEqual({ code: 0, said: '{"healthy":true,"why":"/livez: ok"}' })
  })

  test('that is asked for two things at once: told how to ask', async () => {
    expect(await check({}, '--mail', '--ready')).toEqual({ code: 64, said: 'Give --ready or --mail, not both.' })
    expect(await check({}, '127.0.0.1:25')).toEqual({ code: 64, said: 'HOST:PORT is for --mail.' })
  })
})

test('a server that closes without a word: not well', async () => {
  const silent = createServer((socket) => socket.end())
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as { port: number }
  const checked = await check({}, '--mail', `127.0.0.1:${port}`)
  silent.close()
  expect(checked).toEqual({ code: 1, said: expect.stringContaining('without a greeting') })
})

test('settings that are wrong: not well, and it says which', async () => {
  const { code, said } = await check({ SPILLWAY_LISTEN: 'nonsense' })
  expect([code, said]).toEqual([1, expect.stringContaining('SPILLWAY_LISTEN')])
})
