/** Who may begin a TLS handshake, and when: the rules by a clock of the test, and what clients see of them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Places } from '../../../src/config/places-kind.ts'
import type { Standing } from '../../../src/core/client.ts'
import type { Refusal } from '../../../src/core/policy.ts'
import { HandshakeTurns } from '../../../src/front/session/handshake-turns.ts'
import { type Handshake, Handshakes } from '../../../src/front/session/handshakes.ts'
import { loadWith } from '../../config/given.ts'
import { CERT, KEY } from '../../config/pem.ts'
import { BALANCER, eventually, startApp, type TestApp, turn } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

/** What a TLS client says first. */
const clientHello = (): Promise<Buffer> =>
  new Promise((resolve) => {
    const written = new Duplex({ read: () => undefined, write: (chunk: Buffer) => resolve(chunk) })
    connect({ socket: written, servername: 'mx.test.example' }).on('error', () => undefined)
  })

const shipped = loadWith({}).settings.tlsHandshakes

describe('places', () => {
  let at = 0
  let rules: Handshakes
  const lost: string[] = []
  const open = (places: Places = shipped): void => {
    rules = new Handshakes({ places: () => places, elapsed: () => at })
  }
  beforeEach(() => {
    at = 0
    lost.length = 0
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] })
  })
  afterEach(() => {
    jest.useRealTimers()
  })
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 50) {
      at += 50
      await jest.advanceTimersByTimeAsync(50)
    }
  }
  const ask = (source: string, standing: Standing = 'new') =>
    rules.ask({ source, net: `${source.split('.').slice(0, 3).join('.')}.0/24`, standing }, () => lost.push(source))
  const taken = (source: string, standing?: Standing): Handshake => {
    const asked = ask(source, standing)
    if ('reason' in asked) throw new Error(`${source} was refused`)
    return asked
  }
  /** What has become of one that asked. */
  function watch(asked: Handshake | Refusal): () => string {
    if ('reason' in asked) return () => asked.reason
    let state = 'waits'
    if (!(asked.granted instanceof Promise)) state = asked.granted?.reason ?? 'begins'
    else void asked.granted.then((refused) => (state = refused?.reason ?? 'begins'))
    return () => state
  }

  test('one source has its own, and no more than it may have; a trusted one takes what it needs', () => {
    open()
    const own = Array.from({ length: shipped.ofOne }, () => taken('192.0.2.1'))
    expect(ask('192.0.2.1')).toMatchObject({ reason: 'tls_limit', code: 421, facts: { used: 17, max: 16 } })
    expect(watch(ask('192.0.2.2'))()).toBe('begins')
    own[0]?.over('failed')
    own[0]?.over('failed')
    expect(watch(ask('192.0.2.1'))()).toBe('begins')
    expect(ask('192.0.2.1')).toHaveProperty('reason', 'tls_limit')
    expect(rules.foundNoPlace({ source: '192.0.2.1' })).toBe(false)
    for (let i = 0; i <= shipped.ofOne; i++) taken('198.51.100.1', 'trusted')
  })

  test('a place that becomes free goes to the source that has asked least', async () => {
    open({ ofOne: 16, ofAll: 4 })
    const flood = Array.from({ length: 4 }, () => taken('192.0.2.1'))
    const more = watch(ask('192.0.2.1'))
    const neighbours = Array.from({ length: 6 }, (_, i) => watch(ask(`203.0.113.${i}`)))
    const honest = watch(ask('198.51.100.1'))
    flood[0]?.over('failed')
    await pass(50)
    expect([more(), honest(), neighbours.map((each) => each()).join()]).toEqual([
      'waits',
      'waits',
      'begins,waits,waits,waits,waits,waits',
    ])
    flood[1]?.over('failed')
    await pass(50)
    expect(neighbours[1]?.()).toBe('begins')
    const trusted = watch(ask('198.51.100.9', 'trusted'))
    flood[2]?.over('failed')
    await pass(50)
    expect([trusted(), more()]).toEqual(['begins', 'waits'])
  })

  test('a network that asks with many sources weighs more than one that asks with few', async () => {
    open({ ofOne: 16, ofAll: 1 })
    const first = taken('203.0.113.1')
    for (let i = 0; i < 200; i++) taken(`192.0.2.${i}`).over('failed')
    const late = watch(ask('192.0.2.250'))
    const honest = watch(ask('198.51.100.1'))
    first.over('failed')
    await pass(50)
    expect([late(), honest()]).toEqual(['waits', 'begins'])
  })

  test('handshakes that brought mail weigh nothing: who comes often with mail goes before who comes with none', async () => {
    open({ ofOne: 16, ofAll: 1 })
    const who = { source: '198.51.100.1', net: '198.51.100.0/24' }
    for (let i = 0; i < 20; i++) {
      taken(who.source).over('failed')
      rules.forgive(who)
    }
    for (let i = 0; i < 2; i++) taken('192.0.2.1').over('failed')
    const first = taken('203.0.113.1')
    const flood = watch(ask('192.0.2.1'))
    const honest = watch(ask(who.source))
    first.over('failed')
    await pass(50)
    expect([flood(), honest()]).toEqual(['waits', 'begins'])
  })

  test('who waits for 5 s is refused, and so is the heaviest when too many wait', async () => {
    open({ ofOne: 100, ofAll: 2 })
    for (const source of ['192.0.2.1', '192.0.2.2']) taken(source).arrived(() => undefined)
    const waiting = Array.from({ length: 8 }, () => watch(ask('192.0.2.3')))
    const honest = watch(ask('198.51.100.1'))
    await pass(50)
    expect(waiting.map((each) => each())).toEqual([...Array(7).fill('waits'), 'tls_limit'])
    await pass(4850)
    expect(honest()).toBe('waits')
    await pass(200)
    expect([honest(), waiting[0]?.()]).toEqual(['tls_limit', 'tls_limit'])
    const foundNone = (source: string) => rules.foundNoPlace({ source })
    expect(['198.51.100.1', '192.0.2.3', '192.0.2.1'].map(foundNone)).toEqual([true, true, false])
    at += 600_000
    expect(foundNone('198.51.100.1')).toBe(false)
  })

  test('1,000 sources that are silent in all places keep nobody out for long', async () => {
    open()
    // Each has asked before, and asks again as soon as it loses its place.
    let next = 0
    const again = (): void => {
      const source = `10.${next % 250}.0.${Math.floor(next / 250) % 4}`
      next++
      const asked = rules.ask({ source, net: `${source}/24`, standing: 'new' }, () => {
        if (!('reason' in asked)) asked.over('failed')
        again()
      })
    }
    for (let i = 0; i < 1000; i++) {
      const asked = ask(`10.${i % 250}.0.${Math.floor(i / 250)}`)
      if (!('reason' in asked)) asked.over('failed')
    }
    for (let i = 0; i < 300; i++) again()
    await pass(1000)
    const states = Array.from({ length: 20 }, (_, i) => watch(ask(`198.51.${i}.1`)))
    await pass(500)
    expect(states.map((each) => each())).toEqual(Array(20).fill('begins'))
  })

  test('a client that waits for its turn does not lose its place; a silent one keeps it while nobody waits', async () => {
    open({ ofOne: 16, ofAll: 2 })
    const first = taken('192.0.2.1')
    taken('192.0.2.2')
    await pass(9000)
    expect(lost).toEqual([])
    first.arrived(() => undefined)
    ask('198.51.100.1')
    await pass(200)
    expect(lost).toContain('192.0.2.2')
    expect(lost).not.toContain('192.0.2.1')
  })

  test('a client that does not answer our part of the handshake has two seconds when others wait', async () => {
    open({ ofOne: 16, ofAll: 1 })
    taken('192.0.2.1').over('failed')
    taken('192.0.2.1').arrived(() => undefined)
    ask('198.51.100.1')
    await pass(1800)
    expect(lost).toEqual([])
    await pass(300)
    expect(lost).toContain('192.0.2.1')
  })

  test('one that leaves while it waits takes no place', async () => {
    open({ ofOne: 16, ofAll: 1 })
    const first = taken('192.0.2.1')
    taken('192.0.2.2').over('failed')
    const third = watch(ask('192.0.2.3'))
    first.over('failed')
    await pass(50)
    expect(third()).toBe('begins')
  })
})

describe('CPU time', () => {
  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] })
  })
  afterEach(() => {
    jest.useRealTimers()
  })

  /** Plays handshakes that cost `ms` each until `count` are done. @returns the time that passed, and the longest without a pause */
  async function play(count: number, ms: number) {
    let worked = 0
    const elapsed = (): number => performance.now() + worked
    const turns = new HandshakeTurns(elapsed)
    let done = 0
    let others = 0
    let between = 0
    const tick = (): void => {
      others++
      if (done < count) setImmediate(tick)
    }
    setImmediate(tick)
    const from = elapsed()
    let seen = -1
    for (let i = 0; i < count; i++) {
      turns.wait({
        weight: 1,
        begin: () => {
          worked += ms
          done++
          if (others === seen) between++
          seen = others
        },
        took: () => undefined,
      })
    }
    while (done < count) await jest.advanceTimersByTimeAsync(1)
    return { took: elapsed() - from, sharedTurns: between }
  }

  test.each([2, 5, 20])('handshakes of %d ms get a quarter of it, one in a turn of the event loop', async (ms) => {
    const { took, sharedTurns } = await play(400, ms)
    expect(took).toBeGreaterThan(400 * ms * 4 - 24 - 4 * ms)
    expect(sharedTurns).toBe(0)
  })

  test('what is done after its turn is charged at the end', async () => {
    let worked = 0
    const elapsed = (): number => performance.now() + worked
    const turns = new HandshakeTurns(elapsed)
    const one = async (ms: number, isFull: boolean): Promise<void> => {
      let isOver = false
      turns.wait({
        weight: 1,
        begin: () => {
          worked += ms
        },
        took: (measured) => {
          turns.over(measured, isFull)
          isOver = true
        },
      })
      while (!isOver) await jest.advanceTimersByTimeAsync(1)
    }
    for (let i = 0; i < 20; i++) await one(4, true)
    // They send half of what they have, or make the server ask again.
    const from = performance.now()
    for (let i = 0; i < 50; i++) await one(0, false)
    expect(performance.now() - from).toBeGreaterThan(300)
  })
})

describe('on the wire', () => {
  let upstream: Upstream
  let app: TestApp
  const directory = mkdtempSync(join(tmpdir(), 'spillway-handshakes-'))
  const tls = { TLS_CERT: join(directory, 'cert.pem'), TLS_KEY: join(directory, 'key.pem') }
  beforeAll(async () => {
    writeFileSync(tls.TLS_CERT, CERT)
    writeFileSync(tls.TLS_KEY, KEY)
    upstream = await startUpstream()
    app = await startApp(upstream.address, { ...tls, PROXY_PROTOCOL_FROM: BALANCER, TLS_HANDSHAKES: '2/4' })
  })
  afterAll(async () => {
    await upstream.stop()
    await app.stop()
    rmSync(directory, { recursive: true })
  })
  const handshakes = (result: string) => app.metric(`spillway_tls_handshakes_total{result="${result}"}`)
  async function holding(ip: string) {
    const client = await app.clientAs(ip)
    await client.hello()
    expect(await client.command('STARTTLS')).toMatch(/^220/)
    return client
  }

  test('R1 R2 over its places an address hears 421 in place of 220, and the log and the metrics have it', async () => {
    const first = await holding('192.0.2.1')
    await holding('192.0.2.1')
    const third = await app.clientAs('192.0.2.1')
    await third.hello()
    expect(await third.command('STARTTLS')).toMatch(
      /^421 4\.3\.0 mx\.test\.example \[192\.0\.2\.1\] Too many TLS handshakes at once; nothing is lost, try again later \(\w+0Y\)/,
    )
    await third.closed()
    expect(
      await app.metric('spillway_refusals_total{stage="connect",reason="tls_limit",action="drop",mode="enforce"}'),
    ).toBe(1)
    expect(await handshakes('refused')).toBe(1)
    const line = await app.waitForLog(({ reason }) => reason === 'tls_limit')
    expect(line).toMatchObject({ outcome: 'shed', stage: 'connect', limit: { name: 'tls_limit', used: 3, max: 2 } })
    first.destroy()
    await eventually(
      () => handshakes('failed'),
      (count) => count === 1,
    )
    const fourth = await app.clientAs('192.0.2.1')
    await fourth.hello()
    await fourth.startTls()
    expect(await fourth.command('EHLO client.example')).toMatch(/^250/)
    for (const client of app.clients) client.destroy()
    await eventually(
      () => app.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
  })

  test('when all places are held in silence, a newcomer waits for a moment, and a silent client loses its place', async () => {
    const silent = []
    for (const ip of ['192.0.2.1', '192.0.2.1', '192.0.2.2', '192.0.2.2']) silent.push(await holding(ip))
    const timeouts = (await handshakes('timeout')) as number
    const honest = await app.clientAs('198.51.100.1')
    await honest.hello()
    await honest.startTls()
    expect(await honest.command('EHLO client.example')).toMatch(/^250/)
    expect(await honest.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    expect(await handshakes('timeout')).toBe(timeouts + 1)
    for (const client of app.clients) client.destroy()
    await eventually(
      () => app.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
  })

  test('a client whose handshakes brought mail gets its place before one that asked less often and brought none', async () => {
    const left = () =>
      eventually(
        () => app.metric('spillway_connections_open{family="ipv4"}'),
        (open) => open === 0,
      )
    for (let i = 0; i < 4; i++) {
      const sender = await app.clientAs('10.1.1.1')
      await sender.hello()
      await sender.startTls()
      await sender.command('EHLO client.example')
      expect(await sender.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      await sender.command('QUIT')
      await left()
    }
    for (let i = 0; i < 2; i++) {
      const other = await app.clientAs('10.1.2.1')
      await other.hello()
      await other.startTls()
      other.destroy()
      await left()
    }
    const held = []
    for (const net of ['3', '4', '5', '6']) held.push(await holding(`10.1.${net}.1`))
    const [other, sender] = [await app.clientAs('10.1.2.1'), await app.clientAs('10.1.1.1')]
    const began: string[] = []
    for (const [name, client] of Object.entries({ other, sender })) {
      await client.hello()
      client.write('STARTTLS\r\n')
      await turn(app)
      void client.reply().then((reply) => began.push(`${name} ${reply.slice(0, 3)}`))
    }
    expect(began).toEqual([])
    for (const [i, client] of held.slice(0, 2).entries()) {
      client.destroy()
      await eventually(
        () => began,
        ({ length }) => length > i,
      )
    }
    expect(began).toEqual(['sender 220', 'other 220'])
    for (const client of app.clients) client.destroy()
    await left()
  })

  test('a client that closes its side while it waits does not keep the place that it is given', async () => {
    const held = []
    for (const net of ['1', '2', '3', '4']) held.push(await holding(`10.2.${net}.1`))
    const waiting = await app.clientAs('10.2.5.1')
    await waiting.hello()
    waiting.write('STARTTLS\r\n')
    await turn(app)
    waiting.end()
    await turn(app)
    const failed = (await handshakes('failed')) as number
    for (const client of held) client.destroy()
    // Ten seconds later it would be out of time.
    await eventually(
      () => handshakes('failed'),
      (count) => count === failed + 5,
      5000,
    )
    await eventually(
      () => app.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
  })

  test('those that begin a handshake and do not answer keep nobody out for long', async () => {
    const hello = await clientHello()
    for (const ip of ['10.1.1.1', '10.1.1.1', '10.1.2.1', '10.1.2.1']) (await holding(ip)).socket.write(hello)
    const honest = await app.clientAs('198.51.100.7')
    await honest.hello()
    await honest.startTls()
    expect(await honest.command('EHLO client.example')).toMatch(/^250/)
    for (const client of app.clients) client.destroy()
    await eventually(
      () => app.metric('spillway_connections_open{family="ipv4"}'),
      (open) => open === 0,
    )
  })

  test('a client that leaves while it waits leaves nothing behind', async () => {
    const open = (count: number) =>
      eventually(
        () => app.metric('spillway_connections_open{family="ipv4"}'),
        (now) => now === count,
      )
    const held = []
    // Of networks that have not asked before, so that none of them loses its place at once.
    for (const net of ['11', '12', '13', '14']) held.push(await holding(`10.0.${net}.1`))
    const waiting = await app.clientAs('10.0.15.1')
    await waiting.hello()
    waiting.write('STARTTLS\r\n')
    await turn(app)
    waiting.resetConnection()
    await open(4)
    for (const client of held) client.destroy()
    await open(0)
    for (const net of ['11', '12', '13', '14']) await holding(`10.0.${net}.2`)
    for (const client of app.clients) client.destroy()
  })
})
