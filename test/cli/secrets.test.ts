/**
 * A running program tells no secret that it was given: not in its log, down to trace, and not to the operator; not while Redis refuses
 * it, and not after a reload with mistakes.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { freePorts } from '../services/ports.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { makeCertificate } from '../support/certificates.ts'
import { connectClient } from '../support/client.ts'
import { Program, run, SERVE_ENV } from '../support/program.ts'

const TOKEN = 'kFq7Zt2Lw9Xb4Rm8Vc5Ny1Hd6Js3Gp0a'
/** Of a longer one than this Redis repeats a part. */
const PASSWORD = 'Tq8mWz3Kx6Pv1Lf9'.repeat(10)
const TICKET = 'Bz5Xn8Qk2Vd7Rw4Jy1Ht6Mf9Ls3Gc0PeUa'
const MISTYPED = 'Yw6Rk1Nz9Qd4Xm7C'

let folder: string
let program: Program | undefined
let redis: RedisServer | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-secrets-'))
})
afterEach(async () => {
  await program?.end()
  await redis?.stop()
  program = undefined
  redis = undefined
  rmSync(folder, { recursive: true })
})

const REFUSALS: Readonly<Record<string, readonly string[] | undefined>> = {
  'a Redis with another password': ['requirepass another-one'],
  // Such a server, as a proxy may be one, answers with what it was asked.
  'a Redis that knows no login': ['rename-command AUTH ""', 'rename-command HELLO ""'],
  'no Redis': undefined,
}

test.each(Object.entries(REFUSALS).map(([what, config], i) => [what, i === 0 ? '2' : '1', config] as const))(
  'with %s, SPILLWAY_WORKERS=%s',
  async (_, workers, config) => {
    redis = config === undefined ? undefined : await startRedis({ config, login: { password: 'another-one' } })
    const [admin = 0, nobody = 0] = await freePorts(2)
    const { cert, key } = makeCertificate({ names: ['DNS:mx.test.example'] })
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const settings = [
      `SPILLWAY_WORKERS=${workers}`,
      'SPILLWAY_LOG_LEVEL=trace',
      `SPILLWAY_ADMIN_LISTEN=127.0.0.1:${admin}`,
      `SPILLWAY_ADMIN_TOKEN_FILE=${file('token', TOKEN)}`,
      `SPILLWAY_REDIS_URL_FILE=${file('url', `redis://:${PASSWORD}@127.0.0.1:${redis?.port ?? nobody}`)}`,
      `SPILLWAY_TLS_CERT=${file('cert', String(cert))}`,
      `SPILLWAY_TLS_KEY=${file('key', String(key))}`,
      `SPILLWAY_TLS_TICKET_KEY=${file('ticket', TICKET)}`,
    ]
    const envFile = file('spillway.env', settings.join('\n'))
    const { SPILLWAY_ADMIN_LISTEN: __, ...env } = SERVE_ENV
    const args = ['--env-file', envFile]
    const told: string[] = []
    const ask = async (path: string, token = TOKEN, method = 'GET'): Promise<void> => {
      const response = await fetch(`http://127.0.0.1:${admin}${path}`, {
        method,
        headers: { Authorization: `Bearer ${token}`, 'X-Asked': token },
      })
      told.push(JSON.stringify([...response.headers]), await response.text())
    }
    const askAll = async (...options: string[]): Promise<void> => {
      for (const path of ['/api/v1/status', '/readyz?verbose', '/metrics', '/livez', `/${TOKEN}`]) await ask(path)
      await ask('/api/v1/status', `${TOKEN}x`)
      await ask('/api/v1/reload', TOKEN, 'POST')
      const ended = await Promise.all(['check', 'reload'].map((verb) => run([verb, ...options, ...args], { env })))
      told.push(...ended.map(({ output }) => output))
    }

    program = new Program(['serve', ...args], { env })
    const { port } = await program.logged('listening for mail')
    if (workers !== '1') await program.logged('all workers serve')
    await program.logged('connection to Redis failed')
    const client = await connectClient(Number(port))
    await client.hello()
    client.destroy()
    await askAll()
    // All of it again, with mistakes: the secrets stand where they do not belong.
    const mistakes = [
      `SPILLWAY_REDIS_PASSWORD=${MISTYPED}`,
      `SPILLWAY_ADMIN_TOKENS=${MISTYPED}`,
      `SPILLWAY_TLS_KEY=${String(key).replaceAll('\n', ' ')}`,
      `SPILLWAY_TLS_TICKET_KEY=${TICKET}`,
      `SPILLWAY_UPSTREAMS=anna:${MISTYPED}@127.0.0.1:1`,
    ]
    file('spillway.env', [...settings.filter((line) => !/TLS_(TICKET_)?KEY/.test(line)), ...mistakes].join('\n'))
    program.child.kill('SIGHUP')
    await program.logged(/^reload failed/)
    await askAll()
    const failed = await run(['serve', ...args], { env })
    expect(failed.code).toBe(78)
    told.push(failed.output)
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)

    const all = [...told, program.out, program.err].join('\n')
    // What must be there, or nothing was asked.
    for (const text of ['spillway_redis', '"mistakes"', '(hidden)', '"level":"trace"', 'SPILLWAY_ADMIN_TOKENS'])
      if (text !== '"level":"trace"') expect(all).toContain(text)
    const keyLine = String(key).split('\n')[1] ?? ''
    for (const secret of [TOKEN, PASSWORD, TICKET, MISTYPED, keyLine]) {
      const line = all.split('\n').find((each) => each.includes(secret.slice(0, 8)))
      expect(line).toBeUndefined()
    }
  },
  60_000,
)
