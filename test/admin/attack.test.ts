/** The admin port under attack: the real program, real sockets, and honest mail and an honest scrape beside it. */
import { readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { ADMIN_CONNECTIONS } from '../../src/config/machine-rules.ts'
import { eventually, startApp } from '../support/app.ts'
import { type Client, connectClient } from '../support/client.ts'
import { Program, SERVE_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { open, rest } from './http-client.ts'

const SCRAPE = 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'
const ATTACKER = '127.0.0.66'
const PROMETHEUS = '127.0.0.77'

let upstream: Upstream
let program: Program
let adminPort: number
let mailPort: number
let mail: Client
const sockets: Socket[] = []

/** Mail servers that are away, beside the one that is there: with twenty, /metrics is 270 KB and takes 20 ms and more. */
const AWAY = Array.from({ length: 19 }, (_, i) => `127.0.0.1:${i + 1}`)

/** @param openFiles the limit the program has to live with */
async function start({ openFiles = 4096, away = AWAY } = {}): Promise<void> {
  program = new Program(['serve'], {
    env: {
      ...SERVE_ENV,
      SPILLWAY_UPSTREAMS: [upstream.address, ...away].join(),
      SPILLWAY_UPSTREAM_MAX_CONNECTIONS: '5',
      SPILLWAY_RELAY_GUARD: 'off',
    },
    within: ['sh', '-c', `ulimit -n ${openFiles}; exec "$@"`, 'sh'],
  })
  adminPort = Number((await program.logged('listening for the operator')).port)
  mailPort = Number((await program.logged('listening for mail')).port)
  mail = await connectClient(mailPort)
  await mail.hello()
}
beforeEach(async () => {
  upstream = await startUpstream()
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  mail?.destroy()
  await program?.end()
  await upstream.stop()
})

const openFiles = (): number => readdirSync(`/proc/${program.child.pid}/fd`).length
const rssMB = (): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${program.child.pid}/status`, 'utf8'))?.[1]) / 1024

/** A connection of the attacker's. What comes over it is read only where somebody listens to it. */
async function attack(bytes: string | Buffer, from = ATTACKER): Promise<Socket> {
  const socket = await open(adminPort, from)
  sockets.push(socket)
  socket.write(bytes)
  return socket
}

/** A scrape by somebody who reads. @returns whether it was answered in full */
async function scrape(from = PROMETHEUS): Promise<boolean> {
  const socket = await open(adminPort, from)
  socket.write(SCRAPE)
  const [head = '', body = ''] = (await rest(socket)).split('\r\n\r\n')
  return head.startsWith('HTTP/1.1 200 ') && body.length === Number(/^Content-Length: (\d+)$/m.exec(head)?.[1])
}

/** Scrapes and messages beside each other, while it lasts. @returns milliseconds that the slowest of them took */
async function honest(until: () => boolean): Promise<{ mail: number; scrape: number }> {
  const slowest = { mail: 0, scrape: 0 }
  do {
    const begun = performance.now()
    await Promise.all([
      scrape().then((whole) => {
        expect(whole).toBe(true)
        slowest.scrape = Math.max(slowest.scrape, performance.now() - begun)
      }),
      mail.send('a@example.org', 'b@example.net').then((reply) => {
        expect(reply).toMatch(/^250 /)
        slowest.mail = Math.max(slowest.mail, performance.now() - begun)
      }),
    ])
  } while (!until())
  return slowest
}

/** Under load of other tests both take longer than the 2 s that a scrape may have to wait. */
function expectServed(slowest: { mail: number; scrape: number }): void {
  expect(slowest.mail).toBeLessThan(3000)
  expect(slowest.scrape).toBeLessThan(5000)
}

test('1,200 half requests hold 64 connections: every connection for mail is there, and scrapes from wherever they come', async () => {
  const most = 86
  await start({ openFiles: 400, away: [] })
  const before = openFiles()
  let gone = 0
  for (let i = 0; i < 1200; i++) {
    const socket = await attack(i % 2 === 0 ? 'GET /metrics HTTP/1.1\r\nHost: loc' : '')
    socket.on('close', () => gone++)
    socket.resume()
    if (i % 100 === 0) expectServed(await honest(() => true))
  }
  await eventually(
    () => gone,
    (count) => count >= 1200 - ADMIN_CONNECTIONS,
  )
  expect(openFiles() - before).toBeLessThanOrEqual(ADMIN_CONNECTIONS + 5)
  expect(await scrape(ATTACKER)).toBe(true)
  // The session that sent the honest mail is one of them.
  const clients = await Promise.all(Array.from({ length: most - 1 }, () => connectClient(mailPort)))
  for (const client of clients) expect(await client.hello()).toMatch(/^250/)
  for (const client of clients) client.destroy()
  const warned = program.log.filter(({ msg }) => String(msg).startsWith('the admin port is crowded'))
  expect(warned).toEqual([expect.objectContaining({ level: 'warn', source: ATTACKER })])
}, 60_000)

test('20 connections with 20 pipelined scrapes each, again and again: mail goes on, and memory stays', async () => {
  await start()
  await honest(() => true)
  const before = rssMB()
  let most = before
  const until = performance.now() + 2000
  const attackers = Array.from({ length: 20 }, async () => {
    let answers = 0
    while (performance.now() < until) {
      const answer = await rest(await attack(SCRAPE.repeat(20)))
      answers += answer.match(/HTTP\/1\.1 200 OK/g)?.length ?? 0
    }
    return answers
  })
  const slowest = await honest(() => {
    most = Math.max(most, rssMB())
    return performance.now() >= until
  })
  for (const answers of await Promise.all(attackers)) expect(answers).toBeGreaterThan(0)
  expectServed(slowest)
  expect(most - before).toBeLessThan(100)
}, 60_000)

test('pipelines without end by those who read nothing cost neither memory nor mail its time', async () => {
  await start()
  await honest(() => true)
  const before = rssMB()
  let most = before
  const until = performance.now() + 2000
  const flood = Buffer.from(SCRAPE.repeat(4000))
  const attackers = Array.from({ length: 20 }, async () => {
    while (performance.now() < until) {
      const socket = await attack(flood)
      await new Promise((resolve) => socket.once('close', resolve))
    }
  })
  const slowest = await honest(() => {
    most = Math.max(most, rssMB())
    return performance.now() >= until
  })
  for (const socket of sockets) socket.destroy()
  await Promise.all(attackers)
  expectServed(slowest)
  expect(most - before).toBeLessThan(100)
}, 60_000)

test('who does not ask is cut after 5 s, who does not read after 10 s; neither holds a place against others', async () => {
  await start()
  const before = openFiles()
  const asking = await attack('GET /metrics HTTP/1.1\r\n')
  const begun = performance.now()
  const cut = rest(asking).then(() => performance.now() - begun)
  for (let i = 1; i < ADMIN_CONNECTIONS; i++) await attack(SCRAPE)
  await eventually(openFiles, (files) => files - before >= ADMIN_CONNECTIONS)
  expectServed(await honest(() => true))
  expect(await scrape(ATTACKER)).toBe(true)
  // Those that had their answer made room before the half request of the same address.
  expect(await cut).toBeGreaterThan(4900)
  expect(await cut).toBeLessThan(9000)
  await eventually(openFiles, (files) => files <= before + 1)
  expect(performance.now() - begun).toBeGreaterThan(9900)
}, 60_000)

test('twenty who ask at the same time share a rendering', async () => {
  const app = await startApp(upstream.address)
  try {
    let renderings = 0
    const { registry } = app.running.metrics
    const render = registry.metrics.bind(registry)
    registry.metrics = () => {
      renderings++
      return render()
    }
    const askers = Array.from({ length: 20 }, async () => {
      const socket = await open(app.adminPort, ATTACKER)
      socket.write(SCRAPE.repeat(20))
      return rest(socket)
    })
    for (const answer of await Promise.all(askers)) expect(answer.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(1)
    expect(renderings).toBeLessThanOrEqual(10)
  } finally {
    await app.stop()
  }
})
