/** R37: who is on the line when a balancer stands between. */
import { createServer, type Server, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { createIdentify, type Identity } from '../../../src/front/gate/identify.ts'
import { NatWatch } from '../../../src/front/gate/nat-watch.ts'
import { proxyV2, proxyV2Local } from '../../../src/relay/smtp/proxy-header.ts'
import type { Log } from '../../../src/telemetry/log.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../../support/app.ts'
import { connectClient } from '../../support/client.ts'
import { EXTENSIONS, startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER, LOG_SAMPLE: '1', DENY: '192.0.2.66' })
})
afterAll(async () => {
  await upstream.stop()
  await app.stop()
})

const errors = () => app.metric('spillway_balancer_errors_total')
const probes = () => app.metric('spillway_balancer_probes_total')
const connections = async () =>
  ((await app.metric('spillway_connections_total{family="ipv4"}')) ?? 0) +
  ((await app.metric('spillway_connections_total{family="ipv6"}')) ?? 0)

const ends = (from: string, to: string) => ({ source: { ip: from, port: 4711 }, destination: { ip: to, port: 25 } })
/** Version 2, command PROXY, family unspecified, no addresses. */
const UNSPEC = Buffer.from('0d0a0d0a000d0a515549540a21000000', 'hex')

describe('R37 R48 a listed balancer', () => {
  test('v1, with commands pipelined behind the header', async () => {
    const client = await app.client(BALANCER)
    client.write('PROXY TCP4 203.0.113.5 192.0.2.25 4711 25\r\nEHLO x\r\nNOOP\r\nQUIT\r\n')
    for (const code of ['220', '250', '250', '221']) expect((await client.reply()).slice(0, 3)).toBe(code)
    expect(await app.waitForLog(({ ip }) => ip === '203.0.113.5')).toMatchObject({ net: '203.0.113.0/24' })
  })

  test('v2, in pieces', async () => {
    const client = await app.client(BALANCER)
    const ends = { source: { ip: '2001:db8::5', port: 4711 }, destination: { ip: '2001:db8::25', port: 25 } }
    for (const byte of proxyV2(ends)) {
      client.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await client.reply()).toMatch(/^220/)
    expect(await client.command('QUIT')).toMatch(/^221/)
    expect(await app.waitForLog(({ ip }) => ip === '2001:db8::5')).toMatchObject({ source: '2001:db8::/64' })
  })

  test('lists judge the client, not the balancer', async () => {
    expect(await (await app.clientAs('192.0.2.66')).reply()).toMatch(/^554 5\.7\.1 \[192\.0\.2\.66\]/)
  })

  test.each([
    ['closes without a byte', (socket: Socket) => socket.end()],
    ['resets without a byte', (socket: Socket) => socket.resetAndDestroy()],
    ['speaks for itself (LOCAL)', (socket: Socket) => socket.write(proxyV2Local())],
    ['resets behind LOCAL', (socket: Socket) => socket.write(proxyV2Local(), () => socket.resetAndDestroy())],
    ['says UNKNOWN (v1)', (socket: Socket) => socket.write('PROXY UNKNOWN\r\n')],
    ['names itself (v1)', (socket: Socket) => socket.write(`PROXY TCP4 ${BALANCER} 127.0.0.1 4711 25\r\n`)],
    [
      'names itself, IPv4-mapped (v1)',
      (socket: Socket) => socket.write(`PROXY TCP6 ::ffff:${BALANCER} ::ffff:127.0.0.1 4711 25\r\n`),
    ],
    ['names itself (v2)', (socket: Socket) => socket.write(proxyV2(ends(BALANCER, '127.0.0.1')))],
    ['names no TCP addresses (v2 UNSPEC)', (socket: Socket) => socket.write(UNSPEC)],
  ])('that %s is a probe: counted apart, no connection, no refusal', async (_, act) => {
    const [before, of] = [(await probes()) as number, await connections()]
    const bad = await errors()
    const client = await app.client(BALANCER)
    act(client.socket)
    await eventually(probes, (count) => count === before + 1)
    expect(await connections()).toBe(of)
    expect(await errors()).toBe(bad)
    client.end()
    await eventually(
      () => client.socket.destroyed,
      (destroyed) => destroyed,
    )
  })

  test.each([
    ['LOCAL (v2)', proxyV2Local()],
    ['its own address (v1)', Buffer.from(`PROXY TCP4 ${BALANCER} 127.0.0.1 4711 25\r\n`)],
    ['its own address (v2)', proxyV2(ends(BALANCER, '127.0.0.1'))],
  ])(
    'a probe with %s that speaks SMTP is answered, past every limit: the node must not seem down in a flood',
    async (_, header) => {
      const full = await startApp(upstream.address, {
        PROXY_PROTOCOL_FROM: BALANCER,
        MAX_CONNECTIONS: '1',
        DENY: BALANCER,
        LOG_SAMPLE: '1',
      })
      try {
        const flood = await full.clientAs('203.0.113.5')
        expect(await flood.reply()).toMatch(/^220/)
        expect(await (await full.clientAs('203.0.113.6')).reply()).toMatch(/^421/)
        const probe = await full.client(BALANCER)
        probe.write(Buffer.concat([header, Buffer.from('EHLO lb.exa')]))
        expect(await probe.reply()).toBe('220 mx.test.example ESMTP Spillway')
        probe.write('mple\r\n')
        expect(await probe.reply()).toBe('250 mx.test.example')
        // Nobody knows whose mail it would be: it is put off, never refused for good, and the operator hears of it.
        for (let i = 0; i < 3; i++) {
          expect(await probe.command('MAIL FROM:<a@example.org>')).toMatch(/^451 4\.3\.0 .*names no client/)
        }
        expect(await probe.command('QUIT')).toMatch(/^221 2\.0\.0 /)
        await probe.closed()
        const endless = await full.client(BALANCER)
        endless.write(Buffer.concat([header, Buffer.alloc(3000, 'x')]))
        expect(await endless.reply()).toMatch(/^220/)
        expect(await endless.reply()).toMatch(/^421/)
        expect(await full.metric('spillway_balancer_probes_total')).toBe(2)
        const warned = full.log().filter(({ level }) => level === 'warn')
        expect(warned).toEqual([expect.objectContaining({ ip: BALANCER, setting: 'SPILLWAY_PROXY_PROTOCOL_FROM' })])
        expect(full.log().some(({ ip, msg }) => ip === BALANCER && msg === 'session')).toBe(false)
      } finally {
        await full.stop()
      }
    },
  )

  test.each(['EHLO x\r\n', 'PROXY TCP4 300.0.0.1 192.0.2.1 1 2\r\n', 'PROXY TCP4 203.0.113.5 192'])(
    'that says %j is closed with 421, counted, and logged with its address',
    async (bytes) => {
      const before = (await errors()) as number
      const client = await app.client(BALANCER)
      client.write(bytes)
      if (!bytes.endsWith('\n')) client.end()
      expect(await client.reply()).toMatch(/^421 4\.3\.0 .* No valid PROXY header/)
      expect(await client.closed()).toBe('')
      expect(await errors()).toBe(before + 1)
      const line = await app.waitForLog(({ ip, reason }) => ip === BALANCER && reason === 'proxy_header')
      expect(line).toMatchObject({ why: expect.any(String) })
      // Once an hour, however many there are.
      expect(app.log().filter(({ level, ip }) => level === 'warn' && ip === BALANCER)).toHaveLength(1)
    },
  )
})

describe('R48 an IPv6 client that an IPv4 listener passes on, as nginx writes it', () => {
  const HEADER = 'PROXY TCP6 2001:db8::1 192.0.2.1 51512 25\r\n'
  const XCLIENT = ['XCLIENT NAME ADDR PORT PROTO HELO']

  test.each([
    ['proxy-v1', { header: 'line' }, 'PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 51512 25\r\n'],
    [
      'proxy-v2',
      { header: 'v2' },
      proxyV2({ source: { ip: '2001:db8::1', port: 51512 }, destination: { ip: '192.0.2.1', port: 25 } }),
    ],
    ['xclient', { extensions: [...EXTENSIONS, ...XCLIENT] }, undefined],
  ] as const)('is let in, and a mail server told by %s hears its address', async (mode, options, expected) => {
    const server = await startUpstream(options)
    const node = await startApp(server.address, { PROXY_PROTOCOL_FROM: BALANCER, UPSTREAM_CLIENT_IP: mode })
    try {
      const client = await node.client(BALANCER)
      client.write(HEADER)
      await client.hello()
      expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      await client.command('QUIT')
      expect(await node.waitForLog(({ msg }) => msg === 'session')).toMatchObject({
        ip: '2001:db8::1',
        source: '2001:db8::/64',
        outcome: 'relayed',
      })
      const [mailed] = server.mailed()
      if (expected !== undefined) expect(mailed?.header.toString('latin1')).toBe(expected.toString('latin1'))
      else
        expect(mailed?.lines.find((each) => each.startsWith('XCLIENT'))).toContain(' ADDR=IPV6:2001:db8::1 PORT=51512 ')
    } finally {
      await node.stop()
      await server.stop()
    }
  })
})

describe('R37 the deadline', () => {
  const identities: (Identity | undefined)[] = []
  const parts = {
    isBalancer: () => true,
    standingOf: () => 'new' as const,
    domainOf: () => undefined,
    countedAs: () => undefined,
    isRelay: () => false,
    newId: () => 'ID',
    now: Date.now,
    metrics: createMetrics({ version: '0', upstreams: [] }),
    warnings: { noHeader: () => undefined },
  }
  let server: Server
  let port = 0
  beforeAll(async () => {
    const identify = createIdentify({ ...parts, headerDeadlineMs: 60 })
    server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined)
      void Promise.resolve(identify(socket)).then((identity) => {
        identities.push(identity)
        socket.destroy()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as { port: number }).port
  })
  afterAll(() => new Promise((resolve) => server.close(resolve)))

  test.each(['', 'PROXY TCP4 203.0.113'])(
    'a balancer that falls silent behind %j is bad when it has passed',
    async (bytes) => {
      const before = identities.length
      const client = await connectClient(port)
      client.write(bytes)
      await eventually(
        () => identities.length,
        (count) => count > before,
      )
      expect(identities.at(-1)).toMatchObject({ kind: 'bad', client: { ip: '127.0.0.1' } })
      await client.closed()
    },
  )

  test('is five seconds as shipped', async () => {
    jest.useFakeTimers()
    try {
      const socket = Object.assign(new PassThrough(), { remoteAddress: '127.0.0.1', remotePort: 4711 })
      const settled: (Identity | undefined)[] = []
      void Promise.resolve(createIdentify(parts)(socket as never)).then((identity) => settled.push(identity))
      await jest.advanceTimersByTimeAsync(4999)
      expect(settled).toEqual([])
      await jest.advanceTimersByTimeAsync(1)
      expect(settled).toEqual([expect.objectContaining({ kind: 'bad', why: 'no header in 5000 ms' })])
    } finally {
      jest.useRealTimers()
    }
  })
})

describe('nearly everybody from one address', () => {
  const watch = () => {
    const warned: Record<string, unknown>[] = []
    const time = { at: 10_000_000 }
    const log = { warn: (fields: Record<string, unknown>) => warned.push(fields) } as unknown as Log
    const nat = new NatWatch(log, () => time.at)
    const come = (ip: string, count: number) => {
      for (let i = 0; i < count; i++) nat.seen(ip)
    }
    return { come, warned, time }
  }
  test('that is private: something hides the clients, said once an hour', () => {
    const { come, warned, time } = watch()
    come('172.17.0.1', 999)
    expect(warned).toEqual([])
    come('172.17.0.1', 1)
    expect(warned).toEqual([{ ip: '172.17.0.1', connections: 1000, same: 1000 }])
    come('172.17.0.1', 5000)
    expect(warned).toHaveLength(1)
    time.at += 3_600_001
    come('172.17.0.1', 1000)
    expect(warned).toHaveLength(2)
  })
  test('that is public, or is only most of them: nothing is said', () => {
    const { come, warned } = watch()
    come('203.0.113.1', 1000)
    come('10.0.0.1', 900)
    come('203.0.113.2', 100)
    expect(warned).toEqual([])
  })
})
