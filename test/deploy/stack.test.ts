/**
 * The compose stack of the profiles demo and monitoring as plain processes: the same command lines and the same files, with other paths and free
 * ports in place of the container's. What a container engine would add (networks, users, read-only roots) is not tried.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { freePorts } from '../services/ports.ts'
import { runCommand, type Server, startServer, waitUntil } from '../services/processes.ts'
import { type Compose, composeConfig, type Service, STACK_FILE } from './compose.ts'
import { layImage, ROOT } from './image.ts'

const DEADLINE_MS = 15_000

interface Program {
  readonly child: ChildProcess
  output(): string
  readonly exited: Promise<unknown>
}

let app: string
let compose: Compose
let ports: { mail: number; dns: number; smtp: number; admin: number; redis: number; prometheus: number }
const programs: Program[] = []
const servers: Server[] = []

/** Runs what a service of the image runs: `node` with these arguments, in /app. */
function run(args: readonly string[], env: Record<string, string> = {}): Program {
  const options = { cwd: app, env: { PATH: process.env.PATH, ...env } }
  const child = spawn(process.execPath, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const program = { child, output: () => output, exited: once(child, 'close') }
  programs.push(program)
  return program
}

const service = (name: string): Service => {
  const found = compose.services[name]
  if (found === undefined) throw new Error(`there is no service ${name}`)
  return found
}
/** Its command line without `node`; paths of the container become ours. */
const argsOf = (name: string): string[] =>
  (service(name).entrypoint ?? []).slice(1).map((word) => word.replace(/^\/secrets$/, join(app, 'secrets')))

const healthy = async (target: string): Promise<true | undefined> => {
  const [code] = (await run(['dist/main.js', 'healthcheck', '--mail', target]).exited) as [number]
  return code === 0 ? true : undefined
}
const until = async (probe: () => Promise<true | undefined>, what: string, ms = DEADLINE_MS): Promise<unknown> =>
  waitUntil(probe, ms, () => `${what}\n${programs.map((program) => program.output()).join('\n')}`)

beforeAll(async () => {
  app = await layImage()
  compose = await composeConfig(STACK_FILE)
  const [mail = 0, dns = 0, smtp = 0, admin = 0, redis = 0, prometheus = 0] = await freePorts(6)
  ports = { mail, dns, smtp, admin, redis, prometheus }
}, 90_000)
afterAll(async () => {
  for (const { child } of programs) child.kill('SIGKILL')
  await Promise.all([...programs.map(({ exited }) => exited), ...servers.map((server) => server.stop())])
  rmSync(app, { recursive: true })
})

test('secrets are made once, and kept', async () => {
  const files = [
    'grafana/admin-password',
    'redis/password',
    'redis/redis.conf',
    'spillway/admin-token',
    'spillway/redis-url',
  ]
  const made = (): string[] => files.map((file) => readFileSync(join(app, 'secrets', file), 'utf8'))
  expect(await run(argsOf('secrets')).exited).toEqual([0, null])
  const first = made()
  expect(await run(argsOf('secrets')).exited).toEqual([0, null])
  expect(made()).toEqual(first)
  expect(new Set(first).size).toBe(files.length)
  // Nobody but the container that has the volume sees it, and the programs in there are different users.
  for (const file of files) expect(statSync(join(app, 'secrets', file)).mode & 0o777).toBe(0o444)
  for (const folder of readdirSync(join(app, 'secrets'))) {
    const mounts = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.filter((volume) => volume.startsWith(`${folder}-secrets:/run/`)),
    )
    expect(new Set(mounts).size).toBe(1)
  }
})

test('Redis starts with its command line, and wants the password', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'spillway-redis-'))
  const [name = '', ...args] = (service('redis').command ?? []).map((word) =>
    word.replace(/^\/run\//, `${app}/secrets/`),
  )
  const redis = startServer(
    name,
    args.map((word) => (word === '6379' ? String(ports.redis) : word)),
    directory,
  )
  servers.push(redis)
  await waitUntil(
    () => (/Ready to accept connections/.test(redis.output()) ? true : undefined),
    DEADLINE_MS,
    redis.output,
  )
  const at = ['-p', String(ports.redis)]
  expect((await runCommand('redis-cli', [...at, 'ping'])).output).toContain('NOAUTH')
  const url = readFileSync(join(app, 'secrets/spillway/redis-url'), 'utf8').trim().replace(':6379/', `:${ports.redis}/`)
  expect((await runCommand('redis-cli', ['-u', url, 'ping'])).output).toContain('PONG')
  writeFileSync(join(app, 'redis-url'), `${url}\n`)
})

test('the senders leave everybody alone but the demo', async () => {
  const spared = createServer((socket) => socket.end('220 mx1.example.net ESMTP\r\n'))
  let calls = 0
  spared.on('connection', () => calls++)
  await once(spared.listen(0, '127.0.0.1'), 'listening')
  const { port } = spared.address() as AddressInfo
  const senders = run(argsOf('senders'), { DEMO_TARGET: `127.0.0.1:${port}` })
  expect(await senders.exited.finally(() => spared.close())).toEqual([1, null])
  expect(senders.output()).toContain("is not the demo's Spillway")
  expect(calls).toBe(1)
})

test('without settings of its own, Spillway starts beside the demo alone, and with nothing changed', async () => {
  const env = { SPILLWAY_ENV_FILE: join(app, 'deploy/demo/spillway.env'), DEMO_MAIL_PORT: String(ports.mail) }
  const alone = run(argsOf('check'), { ...env, DEMO_PATIENCE_MS: '300' })
  expect(await alone.exited).toEqual([78, null])
  expect(alone.output()).toMatch(
    /There are no settings: copy .env.example[\s\S]*docker compose --profile demo up --build/,
  )
  const changed = run(argsOf('check'), { ...env, SPILLWAY_UPSTREAMS: 'mail1.example.net:25' })
  expect(await changed.exited).toEqual([78, null])
  expect(changed.output()).toContain('take SPILLWAY_UPSTREAMS out of the shell')
  // An operator's own settings are checked as they are.
  const own = join(app, 'own.env')
  writeFileSync(own, 'SPILLWAY_UPSTREAMS=127.0.0.1:1\nSPILLWAY_UPSTREAM_CLIENT_IP=none\n')
  expect(await run(argsOf('check'), { SPILLWAY_ENV_FILE: own }).exited).toEqual([0, null])
  writeFileSync(own, 'SPILLWAY_UPSTREAMS=127.0.0.1:1\n')
  expect(await run(argsOf('check'), { SPILLWAY_ENV_FILE: own }).exited).toEqual([78, null])
})

test('Spillway, the demo mail server and the senders: mail goes through, and a flood is shed', async () => {
  run(argsOf('mail'), { DEMO_MAIL_PORT: String(ports.mail), DEMO_DNS_PORT: String(ports.dns) })
  await until(() => healthy(`127.0.0.1:${ports.mail}`), 'the mail server does not greet')
  const settled = { SPILLWAY_ENV_FILE: join(app, 'deploy/demo/spillway.env'), DEMO_MAIL_PORT: String(ports.mail) }
  expect(await run(argsOf('check'), settled).exited).toEqual([0, null])
  const spillway = run(['dist/main.js', 'serve'], {
    SPILLWAY_ENV_FILE: join(app, 'deploy/demo/spillway.env'),
    SPILLWAY_ADMIN_TOKEN_FILE: join(app, 'secrets/spillway/admin-token'),
    SPILLWAY_REDIS_URL_FILE: join(app, 'redis-url'),
    SPILLWAY_UPSTREAMS: `127.0.0.1:${ports.mail}`,
    SPILLWAY_DNS_SERVERS: `127.0.0.1:${ports.dns}`,
    SPILLWAY_LISTEN: `127.0.0.1:${ports.smtp}`,
    SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${ports.admin}`,
  })
  await until(() => healthy(`127.0.0.1:${ports.smtp}`), 'Spillway does not greet')
  const senders = run(argsOf('senders'), {
    DEMO_TARGET: `127.0.0.1:${ports.smtp}`,
    SPILLWAY_ENV_FILE: join(app, 'deploy/demo/spillway.env'),
    SPILLWAY_REDIS_URL_FILE: join(app, 'redis-url'),
  })
  const moves = async (): Promise<true | undefined> => {
    const text = await (await fetch(`http://127.0.0.1:${ports.admin}/metrics`)).text()
    const sum = (series: RegExp): number =>
      [...text.matchAll(series)].reduce((total, [, value]) => total + Number(value), 0)
    const accepted = sum(/^spillway_messages_total\{.*result="accepted".*\} (\d+)$/gm)
    const denied = sum(/^spillway_refusals_total\{.*reason="denied".*mode="enforce".*\} (\d+)$/gm)
    // Of a network that sends spam the level soon refuses strangers before its limit can.
    const limited = sum(/^spillway_refusals_total\{.*reason="(?:ip|net)_connections".*mode="enforce".*\} (\d+)$/gm)
    const known = sum(/^spillway_sessions_total\{.*outcome="relayed".*standing="known".*\} (\d+)$/gm)
    const knownShed = sum(/^spillway_sessions_total\{.*outcome="shed".*standing="known".*\} (\d+)$/gm)
    expect(knownShed).toBe(0)
    const redis = sum(/^spillway_redis_up (\d+)$/gm)
    return accepted > 5 && known > 5 && denied > 10 && limited > 10 && redis === 1 ? true : undefined
  }
  // The senders begin when nodes have heard who is known.
  await until(moves, 'what came in was not both relayed and shed, or no known sender was served', 40_000)

  const config = join(app, 'prometheus')
  cpSync(join(ROOT, 'deploy/prometheus'), config, { recursive: true })
  const settings = readFileSync(join(config, 'prometheus.yml'), 'utf8')
  const own = settings.replace(/scrape_interval: \S+/, 'scrape_interval: 200ms').replace(':9025', `:${ports.admin}`)
  writeFileSync(join(config, 'prometheus.yml'), own)
  const directory = mkdtempSync(join(tmpdir(), 'spillway-prometheus-'))
  mkdirSync(join(directory, 'data'))
  const args = (service('prometheus').command ?? []).map((word) =>
    word
      .replace('=/etc/prometheus', `=${config}`)
      .replace('=/prometheus', `=${join(directory, 'data')}`)
      .replace(':9090', `:${ports.prometheus}`),
  )
  servers.push(startServer('prometheus', args, directory))
  const asks = async (query: string): Promise<true | undefined> => {
    const url = `http://127.0.0.1:${ports.prometheus}/api/v1/query?query=${encodeURIComponent(query)}`
    const answer = await fetch(url).then(
      (response) => (response.ok ? (response.json() as Promise<{ data?: { result: unknown[] } }>) : undefined),
      () => undefined,
    )
    return (answer?.data?.result.length ?? 0) > 0 ? true : undefined
  }
  await until(
    () => asks('sum(rate(spillway_connections_total{job="spillway"}[2s])) > 0'),
    'Prometheus sees nothing move',
  )

  senders.child.kill('SIGTERM')
  expect(await senders.exited).toEqual([0, null])
  expect(senders.output()).toMatch(/"honest":\{"sent":\d+/)
  spillway.child.kill('SIGTERM')
  expect(await spillway.exited).toEqual([0, null])
}, 90_000)
