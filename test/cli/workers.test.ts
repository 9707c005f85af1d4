/** Several workers under one parent: the program as it is started, with real processes that are stopped and killed. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SecureVersion, TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { AddressExplained } from '../../src/admin/explain.ts'
import type { ObserveReport } from '../../src/admin/observe.ts'
import type { Status } from '../../src/admin/status.ts'
import { readId } from '../../src/core/id.ts'
import { CERT, KEY } from '../config/pem.ts'
import { startRedis } from '../services/redis.ts'
import { AS_OPERATOR, eventually } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import { type Client, connectClient } from '../support/client.ts'
import { Program, run, SERVE_ENV, TOKEN_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let program: Program
let upstream: Upstream
let clients: Client[] = []
let folder = ''
/** Of the program, from its log. */
let port = 0
let adminPort = 0

beforeEach(async () => {
  upstream = await startUpstream()
  folder = await mkdtemp(join(tmpdir(), 'spillway-workers-'))
})

afterEach(async () => {
  for (const client of clients) client.destroy()
  clients = []
  await program.end()
  await upstream.stop()
  await rm(folder, { recursive: true })
})

async function start(env: Readonly<Record<string, string>> = {}): Promise<void> {
  program = new Program(['serve'], {
    env: {
      ...SERVE_ENV,
      ...TOKEN_ENV,
      SPILLWAY_UPSTREAMS: upstream.address,
      SPILLWAY_RELAY_GUARD: 'off',
      SPILLWAY_WORKERS: '2',
      ...env,
    },
  })
  adminPort = (await program.logged('listening for the operator')).port as number
  await program.logged('all workers serve')
  port = (await program.logged('listening for mail')).port as number
}

async function connect(from?: string): Promise<Client> {
  const client = await connectClient(port, from === undefined ? {} : { from })
  clients.push(client)
  return client
}

/** @returns those that were greeted, and the replies of those that were not */
async function connectMany(count: number): Promise<{ greeted: Client[]; refused: string[] }> {
  const greeted: Client[] = []
  const refused: string[] = []
  for (let i = 0; i < count; i++) {
    const client = await connect()
    const reply = await client.reply()
    if (reply.startsWith('220')) greeted.push(client)
    else refused.push(reply)
  }
  return { greeted, refused }
}

const get = async (path: string, init?: RequestInit): Promise<string> =>
  (await fetch(`http://127.0.0.1:${adminPort}${path}`, init)).text()
const status = async (): Promise<Status> => JSON.parse(await get('/api/v1/status')) as Status
const metrics = async (): Promise<Map<string, number>> =>
  new Map(
    (await get('/metrics'))
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )

/** The sum of all series of a metric. */
const sum = (all: ReadonlyMap<string, number>, name: string): number =>
  [...all].reduce((total, [key, value]) => (key.startsWith(`${name}{`) || key === name ? total + value : total), 0)

const pidOf = async (worker: number): Promise<number> =>
  (await status()).workers?.find((each) => each.worker === worker)?.pid as number

/** A session in the middle of a message. */
async function message(): Promise<Client> {
  const client = await connect()
  await client.reply()
  for (const line of ['EHLO a.example', 'MAIL FROM:<a@a.example>', 'RCPT TO:<b@b.example>', 'DATA']) {
    expect(await client.command(line)).toMatch(/^[23]/)
  }
  return client
}

/** Connects until each of the two workers has a client. */
async function clientOfEach(): Promise<Readonly<Record<number, Client>>> {
  const found: Record<number, Client> = {}
  for (let i = 0; Object.keys(found).length < 2; i++) {
    if (i === 40) throw new Error('the kernel gives all connections to one worker')
    const before = await status()
    const client = await connect()
    await client.reply()
    const after = await status()
    const where = after.workers?.find(
      ({ connectionsOpen }, at) => connectionsOpen !== before.workers?.[at]?.connectionsOpen,
    )
    found[where?.worker as number] = client
  }
  return found
}

/** Begins TLS. @returns the session to resume, and whether one was resumed */
async function secured(client: Client, version: SecureVersion, session?: Buffer) {
  await client.command('EHLO client.example')
  await client.startTls({ minVersion: version, maxVersion: version, ...(session && { session }) })
  const socket = client.socket as TLSSocket
  // In TLS 1.3 tickets come behind the handshake, and before the reply to a command.
  let ticket = version === 'TLSv1.2' ? socket.getSession() : undefined
  socket.on('session', (made) => {
    ticket = made
  })
  expect(await client.command('NOOP')).toMatch(/^250/)
  return { isReused: socket.isSessionReused(), session: ticket }
}

describe('one node', () => {
  test('metrics and status are those of all workers together', async () => {
    await start()
    const { greeted } = await connectMany(20)
    expect(greeted).toHaveLength(20)
    const open = await status()
    expect(open.connectionsOpen).toBe(20)
    expect(open.ready).toBe(true)
    expect(open.workers?.map(({ worker, up, restarts }) => [worker, up, restarts])).toEqual([
      [1, true, 0],
      [2, true, 0],
    ])
    for (const { connectionsOpen } of open.workers ?? []) expect(connectionsOpen).toBeGreaterThan(0)
    for (const client of greeted) {
      client.write('QUIT\r\n')
      await client.closed()
    }
    const all = await eventually(metrics, (each) => sum(each, 'spillway_sessions_total') === 20)
    expect(all.get('spillway_connections_total{family="ipv4"}')).toBe(20)
    expect(all.get('spillway_connections_open{family="ipv4"}')).toBe(0)
    expect(sum(all, 'spillway_session_duration_seconds_count')).toBe(20)
    expect(all.get('spillway_worker_up{worker="1"}')).toBe(1)
    expect(all.get(`spillway_upstream_connections_limit{upstream="${upstream.address}"}`)).toBe(50)
    expect(open.upstreams[0]?.limit).toBe(50)
    // Of each worker, and of the parent.
    for (const worker of ['1', '2', 'parent'])
      expect(all.get(`nodejs_eventloop_lag_p99_seconds{worker="${worker}"}`)).toBeGreaterThan(0)
    expect(await get('/readyz?verbose')).toMatch(/worker 1: up; restarts: 0\nworker 2: up/)
  })

  test.each<SecureVersion>(['TLSv1.2', 'TLSv1.3'])(
    'without Redis, a session of %s is resumed at each worker, also at one that was started later',
    async (version) => {
      const files = { SPILLWAY_TLS_CERT: join(folder, 'cert.pem'), SPILLWAY_TLS_KEY: join(folder, 'key.pem') }
      writeFileSync(files.SPILLWAY_TLS_CERT, CERT)
      writeFileSync(files.SPILLWAY_TLS_KEY, KEY)
      await start(files)
      const maker = (await clientOfEach())[1] as Client
      const { session } = await secured(maker, version)
      const isReusedAt = async (worker: number): Promise<boolean> => {
        const client = (await clientOfEach())[worker] as Client
        return (await secured(client, version, session)).isReused
      }
      for (const worker of [1, 2]) expect([worker, await isReusedAt(worker)]).toEqual([worker, true])
      const all = await metrics()
      expect(all.get('spillway_tls_handshakes_total{result="ok"}')).toBe(1)
      expect(all.get('spillway_tls_handshakes_total{result="resumed"}')).toBe(2)
      process.kill(await pidOf(2), 'SIGKILL')
      await program.logged('the worker is replaced')
      await eventually(metrics, (all) => all.get('spillway_worker_up{worker="2"}') === 1)
      expect(await isReusedAt(2)).toBe(true)
    },
  )

  test('lines of the log are whole, though several processes write them into one pipe', async () => {
    const fifo = join(folder, 'log')
    execFileSync('mkfifo', [fifo])
    program = new Program(['serve'], {
      env: { ...SERVE_ENV, SPILLWAY_WORKERS: '2', SPILLWAY_LOG_SAMPLE: '1', SPILLWAY_DENY: '127.0.0.0/8' },
      within: ['sh', '-c', 'exec "$@" >"$0"', fifo],
    })
    let text = ''
    const log = createReadStream(fifo).on('data', (chunk) => {
      text += chunk.toString()
    })
    const found = await eventually(
      () => /"all workers serve"/.test(text) && /"port":(\d+).*"listening for mail"/.exec(text),
      Boolean,
    )
    port = Number((found as RegExpExecArray)[1])
    // A reader that is slow: the pipe is full, and takes a write in pieces if that is too long.
    log.pause()
    // Ten times what the pipe holds.
    const count = 1000
    for (let i = 0; i < count; i += 100) {
      await Promise.all(
        Array.from({ length: 100 }, async () => {
          const client = await connectClient(port)
          await client.closed()
          client.destroy()
        }),
      )
    }
    log.resume()
    program.child.kill('SIGTERM')
    await once(log, 'end')
    const lines = text.split('\n').filter((line) => line !== '')
    const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(parsed.filter(({ msg }) => msg === 'session')).toHaveLength(count)
    expect(new Set(parsed.filter(({ msg }) => msg === 'session').map(({ worker }) => worker)).size).toBe(2)
  })

  test('a log for people is so in the parent and in all workers', async () => {
    program = new Program(['serve'], {
      env: { ...SERVE_ENV, SPILLWAY_WORKERS: '2', SPILLWAY_LOG_FORMAT: 'text', SPILLWAY_DENY: '127.0.0.0/8' },
    })
    const serving = / INFO {2}listening for mail .*\bport=(\d+).*\bworker=[12]\n/
    await eventually(
      () => program.out,
      (out) => serving.test(out) && / INFO {2}all workers serve\n/.test(out),
    )
    const client = await connectClient(Number(serving.exec(program.out)?.[1]))
    await client.closed()
    await eventually(
      () => program.out,
      (out) => / INFO {2}session id=\w{13} ip=127\.0\.0\.1 .*reason=denied code=554 .*worker=[12]\n/.test(out),
    )
    for (const line of program.out.trimEnd().split('\n')) expect(line).toMatch(/^20[0-9T:.-]+Z (INFO|WARN|ERROR) +\S/)
  })
})

describe('limits of a node', () => {
  test.each([
    ['SPILLWAY_MAX_CONNECTIONS', '11', /^421 .*/],
    ['SPILLWAY_LIMIT_IP_CONCURRENCY', '11', /^421 .*/],
    ['SPILLWAY_LIMIT_IP_CONNECTIONS', '11/1h', /^421 .*/],
  ])('%s holds for all workers together', async (setting, value, reply) => {
    await start({ [setting]: value })
    const { greeted, refused } = await connectMany(40)
    expect(greeted).toHaveLength(11)
    for (const each of refused) expect(each).toMatch(reply)
  })

  test('what strangers get past a level of overload with is that of the node', async () => {
    await start({ SPILLWAY_OVERLOAD: '3', SPILLWAY_OVERLOAD_EVENT_LOOP: '10s' })
    const heard: string[] = []
    for (let i = 0; i < 200; i++) {
      const client = await connect(`127.1.${i}.1`)
      await client.hello()
      await client.command('MAIL FROM:<a@example.org>')
      heard.push((await client.command('RCPT TO:<postmaster@example.net>')).slice(0, 3))
      client.end()
    }
    // Of those beyond it, one in twenty is let in as other strangers are.
    const { length } = heard.filter((code) => code === '250')
    expect(length).toBeGreaterThanOrEqual(120)
    expect(length).toBeLessThan(140)
    expect(heard.filter((code) => code === '451')).toHaveLength(200 - length)
  })

  test('with Redis, the workers count together', async () => {
    const redis = await startRedis()
    try {
      await start({ SPILLWAY_LIMIT_IP_CONNECTIONS: '30/1h', SPILLWAY_REDIS_URL: `redis://127.0.0.1:${redis.port}` })
      expect((await status()).redis).toMatchObject({ up: true, nodes: 2 })
      // A worker hears of what the other let in within moments, and refuses rather than guess until then.
      let greeted = 0
      await eventually(
        async () => {
          greeted += (await connectMany(1)).greeted.length
          return greeted
        },
        (count) => count >= 30,
      )
      // What is under a tenth of a share need not be told.
      greeted += (await connectMany(20)).greeted.length
      expect(greeted).toBeLessThanOrEqual(33)
    } finally {
      await program.end()
      await redis.stop()
    }
  })
})

describe('a ban', () => {
  const bans = async (method: string, path: string, body?: object) =>
    JSON.parse(
      await get(`/api/v1/bans${path}`, { method, headers: AS_OPERATOR, ...(body && { body: JSON.stringify(body) }) }),
    ) as {
      total: number
    }
  const BALANCER = '127.0.0.99'
  const connectAs = async (ip: string): Promise<Client> => {
    const client = await connect(BALANCER)
    client.write(`PROXY TCP4 ${ip} 192.0.2.25 40000 25\r\n`)
    return client
  }
  const banned = async (ip: string, count: number): Promise<string[]> => {
    const replies: string[] = []
    for (let i = 0; i < count; i++) replies.push((await (await connectAs(ip)).reply()).slice(0, 3))
    return replies
  }
  /** By chance some connections come to each of the workers. */
  const MANY = 20
  const offend = async (ip: string): Promise<void> => {
    const bot = await connectAs(ip)
    await bot.reply()
    await bot.command('GET / HTTP/1.1')
  }

  test('of the operator, and one that came by itself, are those of all workers, also of one that begins later', async () => {
    await start({ SPILLWAY_BAN_AFTER: '5', SPILLWAY_TONGUE: 'defer', SPILLWAY_PROXY_PROTOCOL_FROM: BALANCER })
    await clientOfEach()
    await bans('POST', '', { network: '203.0.113.77' })
    await eventually(
      () => banned('203.0.113.77', MANY),
      (replies) => replies.every((reply) => reply === '554'),
    )
    await offend('203.0.113.78')
    await eventually(
      () => banned('203.0.113.78', MANY),
      (replies) => replies.every((reply) => reply === '421'),
    )
    expect((await bans('GET', '')).total).toBe(2)
    const counted = await metrics()
    expect(counted.get('spillway_bans_active')).toBe(2)
    expect(counted.get('spillway_bans_total{reason="operator"}')).toBe(1)
    const explained = JSON.parse(await get('/api/v1/explain?q=203.0.113.77')) as AddressExplained
    expect(explained).toMatchObject({ ban: { by: 'operator' }, now: { connect: { reason: 'banned' } } })
    expect(new Set(explained.refused.map(({ id }) => readId(id)?.node)).size).toBe(2)
    expect(await get(`/api/v1/explain?q=${explained.refused.at(-1)?.id}`)).toContain('"address": "203.0.113.77"')
    expect(await get('/api/v1/explain?q=nothing')).toMatch(/^q: expected an address/)
    expect(await get('/explain?q=203.0.113.77')).toContain('<p>203.0.113.77 is banned')
    process.kill(await pidOf(1), 'SIGKILL')
    await program.logged('the worker is replaced')
    await clientOfEach()
    await eventually(
      () => banned('203.0.113.77', MANY),
      (replies) => replies.every((reply) => reply === '554'),
    )
    await bans('DELETE', '/203.0.113.77')
    await eventually(
      () => banned('203.0.113.77', MANY),
      (replies) => replies.every((reply) => reply === '220'),
    )
  })

  test('comes of points that different workers have given, also without Redis, once', async () => {
    await start({ SPILLWAY_BAN_AFTER: '10', SPILLWAY_TONGUE: 'defer', SPILLWAY_PROXY_PROTOCOL_FROM: BALANCER })
    // By chance each of the two workers gets one of the two offences of some of them, at the same time.
    const bots = Array.from({ length: 12 }, (_, i) => `203.0.${i}.7`)
    await Promise.all([...bots, ...bots].map(offend))
    const all = await eventually(metrics, (counted) => counted.get('spillway_bans_active') === bots.length)
    expect(all.get('spillway_bans_total{reason="tongue"}')).toBe(bots.length)
  })
})

test('what checks in observe mode would have refused is told of all workers together', async () => {
  await start()
  // No mail server has a name without a dot. As shipped that is observed.
  for (const client of Object.values(await clientOfEach())) {
    expect(await client.command('EHLO pc')).toMatch(/^250/)
    expect(await client.send('a@a.example', 'b@b.example')).toMatch(/^250/)
    await client.command('QUIT')
  }
  const told = await eventually(
    async () => JSON.parse(await get('/api/v1/observe')) as ObserveReport,
    ({ checks }) => checks.find(({ check }) => check === 'helo')?.sessions === 2,
  )
  const helo = told.checks.find(({ check }) => check === 'helo')
  expect(helo).toMatchObject({ observing: true, heard: { accepted: 2, refused: 0, none: 0 }, falsePositives: 1 })
  // To the two workers it is one sender.
  expect(helo?.senders).toMatchObject([{ source: '127.0.0.1', helo: 'pc', sessions: 2 }])
  const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${adminPort}` }
  const { code, output } = await run(['observe', 'helo'], { env })
  expect([code, output]).toEqual([0, expect.stringMatching(/^helo: it would have refused 2 sessions since 20/)])
  const counted = [...(await metrics())].filter(([key]) =>
    key.startsWith('spillway_observe_would_refuse_total{check="helo"'),
  )
  expect(counted.reduce((sum, [, value]) => sum + value, 0)).toBe(2)
})

describe('a worker that dies', () => {
  test('is replaced at once; the others notice nothing, and what it counted stays counted', async () => {
    await start()
    const numbers = (): unknown[] =>
      program.log.filter(({ msg }) => msg === 'listening for mail').map(({ node }) => node)
    const starts = (): unknown[] => program.log.filter(({ msg }) => msg === 'listening for mail').map(({ ts }) => ts)
    const [first, second] = await eventually(starts, ({ length }) => length === 2)
    // The second worker is started when the first one listens.
    const startMs = Date.parse(String(second)) - Date.parse(String(first))
    const each = await clientOfEach()
    const { connectionsOpen } = await status()
    const counted = sum(await metrics(), 'spillway_connections_total')
    expect(counted).toBe(connectionsOpen)

    let lowest = counted
    let over = false
    const watched = (async () => {
      while (!over) {
        lowest = Math.min(lowest, sum(await metrics(), 'spillway_connections_total'))
        // Without a pause the scrapes take from the new worker what it needs to start.
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })()
    const killed = performance.now()
    process.kill(await pidOf(1), 'SIGKILL')
    await program.logged('the worker is replaced')
    // That it does not wait is what the log says below. How long a start takes is up to the machine: this is a bound for what is broken.
    expect(performance.now() - killed).toBeLessThan(Math.max(1000, 10 * startMs))
    await each[1]?.closed()
    expect(await each[2]?.command('NOOP')).toMatch(/^250/)

    const after = await eventually(metrics, (all) => all.get('spillway_worker_up{worker="1"}') === 1)
    over = true
    await watched
    expect(lowest).toBe(counted)
    expect(after.get('spillway_worker_restarts_total{worker="1"}')).toBe(1)
    // Its seats are free, and its sessions are over.
    expect(sum(after, 'spillway_connections_total')).toBe(
      sum(after, 'spillway_sessions_total') + sum(after, 'spillway_connections_open'),
    )
    const died = program.log.find(({ msg }) => String(msg).startsWith('a worker died'))
    expect(died).toMatchObject({ level: 'error', worker: 1, signal: 'SIGKILL', unknown: 0, replacedInMs: 0 })
    expect(died?.sessions).toBeGreaterThan(0)
    // Each worker has its own number in the ids of sessions, and so has one that replaces another.
    const all = await eventually(numbers, ({ length }) => length === 3)
    expect(new Set(all).size).toBe(3)
  })

  test('again and again is started later each time, and the others go on', async () => {
    await start()
    for (let i = 0; i < 5; i++) {
      process.kill(
        await eventually(
          () => pidOf(1),
          (pid) => pid !== undefined,
        ),
        'SIGKILL',
      )
      await eventually(
        () => program.log.filter(({ msg }) => msg === 'the worker is replaced').length,
        (count) => count === i + 1,
      )
    }
    const deaths = program.log.filter(({ msg }) => String(msg).startsWith('a worker died'))
    expect(deaths.map(({ replacedInMs }) => replacedInMs)).toEqual([0, 100, 200, 400, 800])
    // It was done as the log says.
    const at = (what: string): number[] =>
      program.log.filter(({ msg }) => String(msg).startsWith(what)).map(({ ts }) => Date.parse(String(ts)))
    const [died, replaced] = [at('a worker died'), at('the worker is replaced')]
    expect((replaced[4] as number) - (died[4] as number)).toBeGreaterThanOrEqual(800)
    expect((await status()).workers?.[0]?.restarts).toBe(5)
    expect((await status()).workers?.[1]?.restarts).toBe(0)
  })

  test('by SIGTERM ends as a node does, and is replaced', async () => {
    await start()
    const each = await clientOfEach()
    const pid = await pidOf(1)
    process.kill(pid, 'SIGTERM')
    expect(await each[1]?.reply()).toMatch(/^421 /)
    await program.logged('the worker was told to end, and is replaced')
    await program.logged('the worker is replaced')
    expect(await pidOf(1)).not.toBe(pid)
  })
})

describe('a worker that hangs', () => {
  test('holds up no scrape for more than a second, and the page says which it is', async () => {
    await start()
    await connectMany(20)
    const unhung = performance.now()
    const before = await metrics()
    // What else a scrape takes on this machine, and as much again for chance.
    const usual = Math.max(500, 4 * (performance.now() - unhung))
    const pid = await pidOf(2)
    process.kill(pid, 'SIGSTOP')
    try {
      const begun = performance.now()
      const first = await metrics()
      const took = performance.now() - begun
      expect(took).toBeGreaterThan(900)
      expect(took).toBeLessThan(1000 + usual)
      expect(first.get('spillway_worker_up{worker="1"}')).toBe(1)
      expect(first.get('spillway_worker_up{worker="2"}')).toBe(0)
      // Its counters are there, and its gauges are not.
      expect(sum(first, 'spillway_connections_total')).toBe(sum(before, 'spillway_connections_total'))
      expect(sum(first, 'spillway_connections_open')).toBeLessThan(20)
      expect(first.has('nodejs_eventloop_lag_p99_seconds{worker="2"}')).toBe(false)
      // From now on nobody waits for it.
      const again = performance.now()
      expect((await status()).workers?.map(({ up }) => up)).toEqual([true, false])
      expect(await get('/readyz')).toBe('ok\n')
      expect(performance.now() - again).toBeLessThan(usual)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const after = await eventually(metrics, (all) => all.get('spillway_worker_up{worker="2"}') === 1)
    expect(sum(after, 'spillway_connections_open')).toBe(20)
  })
})

describe('a reload', () => {
  const DENY = 'SPILLWAY_DENY=127.0.0.1\n'

  async function startWithFile(text: string): Promise<string> {
    const file = join(folder, 'env')
    writeFileSync(file, text)
    await start({ SPILLWAY_ENV_FILE: file })
    return file
  }

  test('reaches every worker, also one that is started later; with a mistake it changes nothing anywhere', async () => {
    const file = await startWithFile('SPILLWAY_LOG_LEVEL=info\n')
    expect((await connectMany(10)).greeted).toHaveLength(10)
    writeFileSync(file, DENY)
    const report = JSON.parse(await get('/api/v1/reload', { method: 'POST', headers: AS_OPERATOR })) as {
      result: string
      hash: string
    }
    expect(report).toMatchObject({ result: 'ok', changed: [{ setting: 'SPILLWAY_DENY' }] })
    expect((await connectMany(10)).greeted).toHaveLength(0)
    process.kill(await pidOf(1), 'SIGKILL')
    await program.logged('the worker is replaced')
    expect((await connectMany(10)).greeted).toHaveLength(0)
    const { settings, workers } = await status()
    expect([settings.hash, ...(workers ?? []).map((each) => each.settings)]).toEqual([
      report.hash,
      report.hash,
      report.hash,
    ])
    const all = await metrics()
    expect(all.get('spillway_reload_total{result="ok"}')).toBe(1)
    expect(all.get(`spillway_settings_info{hash="${report.hash}"}`)).toBe(1)
    expect(sum(all, 'spillway_settings_info')).toBe(1)

    writeFileSync(file, 'SPILLWAY_DENY=nowhere\n')
    program.child.kill('SIGHUP')
    await program.logged('reload failed: all settings stay as they were')
    expect((await connectMany(10)).greeted).toHaveLength(0)
    const still = await status()
    expect([still.settings.hash, ...(still.workers ?? []).map((each) => each.settings)]).toEqual(
      Array(3).fill(report.hash),
    )
    expect((await metrics()).get('spillway_reload_total{result="failed"}')).toBe(1)
  })

  test('with a mistake in the settings still has every worker read its certificates', async () => {
    const write = (name: string): void => {
      const { cert, key } = makeCertificate({ subject: name, names: ['DNS:mx.test.example'] })
      writeFileSync(join(folder, 'cert.pem'), cert)
      writeFileSync(join(folder, 'key.pem'), key)
    }
    write('old')
    const TLS = `SPILLWAY_TLS_CERT=${join(folder, 'cert.pem')}\nSPILLWAY_TLS_KEY=${join(folder, 'key.pem')}\n`
    const file = await startWithFile(TLS)
    write('new')
    writeFileSync(file, `${TLS}SPILLWAY_DENY=nowhere\n`)
    const asked = performance.now()
    program.child.kill('SIGHUP')
    const names = new Set<string | undefined>()
    const shown = async (): Promise<Set<string | undefined>> => {
      names.clear()
      for (let i = 0; i < 12; i++) {
        const client = await connect()
        await client.hello()
        await client.startTls({ rejectUnauthorized: false })
        names.add((client.socket as TLSSocket).getPeerX509Certificate()?.subject)
        client.destroy()
      }
      return names
    }
    await eventually(shown, (all) => all.size === 1 && all.has('CN=new'))
    // By themselves they look every ten seconds.
    expect(performance.now() - asked).toBeLessThan(8000)
  })

  test('passes over a worker that hangs, which is replaced by one that has the new settings', async () => {
    const file = await startWithFile('SPILLWAY_LOG_LEVEL=info\n')
    const pid = await pidOf(1)
    process.kill(pid, 'SIGSTOP')
    writeFileSync(file, DENY)
    expect(JSON.parse(await get('/api/v1/reload', { method: 'POST', headers: AS_OPERATOR }))).toMatchObject({
      result: 'ok',
    })
    await program.logged('the worker is replaced')
    expect(await pidOf(1)).not.toBe(pid)
    expect((await connectMany(10)).greeted).toHaveLength(0)
  })
})

describe('start and stop', () => {
  test('a message goes through, and its line tells the worker; SIGTERM: the messages of all workers end, and then the program, with 0', async () => {
    await start()
    const client = await message()
    expect(await client.command('hello\r\n.')).toMatch(/^250/)
    await client.command('QUIT')
    const line = await program.logged('session')
    expect([1, 2]).toContain(line.worker)
    const under = await Promise.all(Array.from({ length: 8 }, message))
    program.child.kill('SIGTERM')
    await eventually(
      () => program.log.filter(({ msg }) => msg === 'draining').length,
      (count) => count === 2,
    )
    expect(await get('/readyz')).toBe('not ready\n')
    for (const client of under) expect(await client.command('hello\r\n.')).toMatch(/^250/)
    expect(await program.exited).toBe(0)
    expect(upstream.mailed().flatMap(({ bodies }) => bodies)).toHaveLength(9)
  })

  test('SIGTERM that comes while the workers are started ends those that there are', async () => {
    program = new Program(['serve'], { env: { ...SERVE_ENV, SPILLWAY_WORKERS: '2' } })
    await program.logged('listening for the operator')
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
    const said = program.log.map(({ msg }) => msg)
    expect(said.filter((msg) => msg === 'draining')).toHaveLength(
      said.filter((msg) => msg === 'listening for mail').length,
    )
    expect(said).not.toContain('cannot start')
  })

  test('a worker that hangs at its start keeps SIGTERM from nobody: what is under way has its time, and the end is in sight', async () => {
    // Of two workers the later one hangs before it reads a line of the program.
    const hangs = `import { writeFileSync } from 'node:fs'
      if (/worker\\.[jt]s$/.test(process.argv[1])) try {
        writeFileSync(${JSON.stringify(join(folder, 'first'))}, '', { flag: 'wx' })
      } catch {
        process.kill(process.pid, 'SIGSTOP')
      }`
    const env = { SPILLWAY_UPSTREAMS: upstream.address, SPILLWAY_RELAY_GUARD: 'off', SPILLWAY_WORKERS: '2' }
    const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(hangs)}`
    program = new Program(['serve'], { env: { ...SERVE_ENV, ...env, NODE_OPTIONS } })
    port = (await program.logged('listening for mail')).port as number
    const client = await message()
    program.child.kill('SIGTERM')
    await program.logged('draining')
    expect(await client.command('hello\r\n.')).toMatch(/^250/)
    const asked = performance.now()
    expect(await program.exited).toBe(0)
    expect(performance.now() - asked).toBeLessThan(15_000)
    expect(program.log.map(({ msg }) => msg)).not.toContain('all workers serve')
  })

  test('a second SIGTERM ends all of them at once, with 1', async () => {
    await start()
    const client = await message()
    program.child.kill('SIGTERM')
    await program.logged('stopping')
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(1)
    // The other one had no session, and has ended before.
    const cut = program.log.filter(({ msg }) => String(msg).startsWith('ended now'))
    expect(cut).toContainEqual(expect.objectContaining({ sessions: 1, unknown: 0 }))
    await client.closed()
  })

  test('a parent that is killed leaves no worker behind', async () => {
    await start()
    const pids = [await pidOf(1), await pidOf(2)]
    const client = await message()
    const killed = new Promise((resolve) => program.child.once('exit', resolve))
    program.child.kill('SIGKILL')
    await killed
    const draining = (): number => program.log.filter(({ msg }) => msg === 'draining').length
    await eventually(draining, (count) => count === 2)
    expect(await client.command('hello\r\n.')).toMatch(/^250/)
    const gone = (pid: number): boolean => {
      try {
        // A zombie has ended, whoever is to wait for it.
        return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
      } catch {
        return true
      }
    }
    await eventually(
      () => pids.every(gone),
      (all) => all,
    )
  })

  test('an address that is taken is told once, with what to do about it', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const taken = `127.0.0.1:${(other.address() as { port: number }).port}`
    try {
      for (const setting of ['SPILLWAY_LISTEN', 'SPILLWAY_ADMIN_LISTEN']) {
        program = new Program(['serve'], { env: { ...SERVE_ENV, SPILLWAY_WORKERS: '2', [setting]: taken } })
        expect(await program.exited).toBe(1)
        const output = program.out + program.err
        expect(output.match(/cannot start/g)).toHaveLength(1)
        expect(output).toContain(`"setting":"${setting}"`)
        expect(output).toContain('another program listens there already')
        expect(output).toContain(`(pid ${process.pid})`)
      }
    } finally {
      other.close()
    }
  })
})
