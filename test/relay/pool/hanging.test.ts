/**
 * Mail servers that accept and then say nothing, or take their time: with the values that are shipped, and a clock that is moved
 * by hand beside real sockets.
 */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Name } from '../../../src/dns/names.ts'
import { eventually } from '../../support/app.ts'
import {
  type Script,
  startUpstream,
  type Upstream,
  type UpstreamConnection,
  type UpstreamOptions,
} from '../../support/upstream.ts'
import { MAIL, RCPT, type Relays, type RelaysOptions, read, send, startRelays } from '../relays.ts'

const SHIPPED = { connectTimeoutMs: 5000, replyTimeoutMs: 300_000 }

let servers: Upstream[] = []
let relays: Relays
beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] })
})
afterEach(async () => {
  jest.useRealTimers()
  for (const server of servers) for (const { socket } of server.connections) socket.destroy()
  await relays.stop()
  await eventually(relays.held, (held) => held === 0)
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
})

async function upstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const server = await startUpstream(options)
  servers.push(server)
  return server
}

/** What is on its way on loopback arrives, in both directions, several times over. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await new Promise((resolve) => setImmediate(resolve))
}
async function pass(ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 250) {
    jest.advanceTimersByTime(250)
    await settle()
  }
}
/** The time, by the clock that is moved by hand, that `act` takes; undefined where it is not over after `most` ms. */
async function timed<T>(act: Promise<T>, most: number): Promise<{ value: T; ms: number } | undefined> {
  const started = performance.now()
  let done: { value: T; ms: number } | undefined
  void act.then((value) => {
    done = { value, ms: performance.now() - started }
  })
  await settle()
  while (done === undefined && performance.now() - started < most) await pass(250)
  return done
}
const begin = async (these: Upstream[], options: RelaysOptions = {}): Promise<number> => {
  const starting = startRelays(these, {
    healthIntervalMs: 5000,
    ...options,
    dial: { ...SHIPPED, ...options.dial },
    patience: { startMs: 2000, ...options.patience },
  })
  const started = await timed(starting, 60_000)
  relays = (await starting) as Relays
  await settle()
  return started?.ms ?? Number.NaN
}
const stateOf = (server: Upstream): string | undefined =>
  relays.upstreams.conditions().find(({ upstream: label }) => label === server.address)?.condition.state

describe('the start', () => {
  test('waits for no server once one answers', async () => {
    expect(await begin([await upstream({ greeting: () => undefined }), await upstream()])).toBeLessThan(500)
    expect(await send(relays.client())).toMatch(/^250/)
  })

  test('and for two seconds where none does', async () => {
    let well = false
    const hanging = await upstream({ greeting: (connection) => void (well && connection.say('220 hello')) })
    expect(await begin([hanging])).toBeLessThanOrEqual(2250)
    // Who comes now waits a little for it: it may be up in a moment.
    const early = relays.client().rcpt(MAIL, RCPT)
    const answer = await timed(early, 60_000)
    expect(answer && read(answer.value)).toBe('refused: upstream_down')
    expect(answer?.ms).toBeLessThanOrEqual(10_250)
    const sending = send(relays.client())
    well = true
    for (const connection of hanging.connections) connection.say('220 hello')
    const sent = await timed(sending, 60_000)
    expect(sent?.value).toMatch(/^250/)
    expect(sent?.ms).toBeLessThanOrEqual(500)
  })
})

describe('one that falls silent beside one that is well', () => {
  const silence = async () => {
    let silent = false
    const hanging = await upstream({ greeting: (connection) => silent || connection.say('220 hello') })
    const good = await upstream()
    await begin([hanging, good])
    silent = true
    hanging.script = () => 'silence'
    return { hanging, good }
  }
  /** Goes to the first server: the other has a connection more. */
  const clientOf = async (first: Upstream, ip?: string) => {
    const other = relays.upstreams.servers().find(({ label }) => label !== first.address)
    if (other !== undefined) other.connections++
    return {
      client: relays.client('h.example', ip),
      [Symbol.dispose]: () => {
        if (other !== undefined) other.connections--
      },
    }
  }

  test('no client waits longer than 6 s at RCPT, and the next ones not at all', async () => {
    const { hanging, good } = await silence()
    using first = await clientOf(hanging)
    const answer = await timed(send(first.client), 300_000)
    expect(answer?.value).toMatch(/^250/)
    expect(answer?.ms).toBeGreaterThanOrEqual(4500)
    expect(answer?.ms).toBeLessThanOrEqual(6000)
    expect(good.mailed()).toHaveLength(1)
    // What one client waited for may be of its own making: the server is asked.
    expect(stateOf(hanging)).toBe('up')
    await pass(5250)
    expect(stateOf(hanging)).toBe('slow')
    for (let i = 0; i < 5; i++) expect((await timed(send(relays.client()), 300_000))?.ms).toBeLessThan(250)
    expect(relays.told.map(({ msg }) => msg).filter((msg) => /slow/.test(msg))).toHaveLength(1)
  })

  test('nor where the DNS takes two seconds to name a client for XCLIENT; no slot is held for that', async () => {
    let silent = false
    const extensions = ['PIPELINING', 'XCLIENT NAME ADDR PORT PROTO HELO']
    const greeting = (connection: UpstreamConnection): void => void (silent || connection.say('220 hello'))
    const hanging = await upstream({ greeting, extensions })
    const good = await upstream({ extensions })
    // Asked once, as names are: the answer is kept.
    let asked: Promise<Name> | undefined
    const names = (): Promise<Name> => {
      asked ??= new Promise((resolve) => {
        setTimeout(() => resolve({ kind: 'none' }), 2000)
      })
      return asked
    }
    await begin([hanging, good], { dial: { clientIp: 'xclient', names } })
    silent = true
    using first = await clientOf(hanging)
    const sending = timed(send(first.client), 300_000)
    await settle()
    // One is the connection that `clientOf` pretends.
    expect(relays.held()).toBe(1)
    const answer = await sending
    expect(answer?.value).toMatch(/^250/)
    expect(answer?.ms).toBeGreaterThanOrEqual(4500)
    expect(answer?.ms).toBeLessThanOrEqual(6000)
    expect(good.mailed()).toHaveLength(1)
  })

  test('the wait for a slot is not charged to the server that has it', async () => {
    const late = (connection: UpstreamConnection): void => {
      setTimeout(() => connection.say('220 hello'), 1000)
    }
    const one = await upstream({ greeting: late })
    const other = await upstream()
    await begin([one, other], { maxConnections: 1 })
    await pass(1250)
    const held = await relays.slot(relays.upstreams.servers().find(({ label }) => label === other.address))
    expect(held.server.label).toBe(one.address)
    const beside = await relays.slot(held.server, '198.51.100.8')
    const sending = send(relays.client('h.example', '198.51.100.9'))
    await pass(7000)
    held.free()
    await settle()
    beside.free()
    const answer = await timed(sending, 300_000)
    expect(answer?.value).toMatch(/^250/)
    expect([one.mailed().length, other.mailed().length]).toEqual([1, 0])
  })

  test('clients of three sources that have waited in vain make it slow, however well it answers our checks', async () => {
    let silent = false
    const hanging = await upstream({
      script: (verb, line) => (silent && /^(MAIL|RCPT)$/.test(verb) && !line.includes('<>') ? 'silence' : 'default'),
    })
    const good = await upstream()
    await begin([hanging, good])
    silent = true
    const waitAt = async (ip: string): Promise<number | undefined> => {
      using first = await clientOf(hanging, ip)
      return (await timed(send(first.client), 300_000))?.ms
    }
    for (let i = 0; i < 4; i++) expect(await waitAt('198.51.100.1')).toBeGreaterThanOrEqual(4500)
    expect(stateOf(hanging)).toBe('up')
    expect(await waitAt('198.51.100.2')).toBeLessThanOrEqual(6000)
    expect(stateOf(hanging)).toBe('up')
    await waitAt('198.51.100.3')
    expect(stateOf(hanging)).toBe('slow')
  })

  test('many that wait at it do not all leave for the one slot that is free elsewhere', async () => {
    let silent = false
    const late: Script = (verb) =>
      verb === 'MAIL' && silent
        ? new Promise((resolve) => {
            setTimeout(() => resolve('250 2.1.0 Ok'), 7000)
          })
        : 'default'
    const slow = await upstream({ script: late })
    const good = await upstream({ script: (verb) => (verb === 'DOT' ? 'silence' : 'default') })
    await begin([slow, good], { maxConnections: 10 })
    const other = relays.upstreams.servers().find(({ label }) => label === good.address)
    if (other === undefined) throw new Error('no such server')
    other.connections = 10
    silent = true
    const all = Array.from({ length: 8 }, (_, i) =>
      timed(relays.client('h.example', `198.51.100.${i}`).rcpt(MAIL, RCPT), 60_000),
    )
    await settle()
    other.connections = 9
    for (let i = 0; i < 40; i++) await pass(250)
    const heard = (await Promise.all(all)).map((each) => each && read(each.value))
    expect(heard.filter((each) => each?.startsWith('250'))).toHaveLength(8)
    expect(good.mailed()).toHaveLength(1)
    other.connections -= 9
  })

  test('nor where a connection that is kept stalls at MAIL', async () => {
    const { hanging } = await silence()
    hanging.script = undefined
    using first = await clientOf(hanging)
    const kept = first.client
    // The connection is open before it falls silent.
    const before = hanging.connections.length
    const opening = kept.rcpt(MAIL, RCPT)
    await settle()
    hanging.connections[before]?.say('220 hello')
    await settle()
    expect(read(await opening)).toMatch(/^250/)
    kept.reset()
    hanging.script = () => 'silence'
    const answer = await timed(send(kept), 300_000)
    expect(answer?.value).toMatch(/^250/)
    expect(answer?.ms).toBeLessThanOrEqual(6000)
    expect(hanging.bodies()).toEqual([])
  })

  test('it counts as slow 5 s after a check, and is down when that has come to nothing', async () => {
    const { hanging } = await silence()
    await pass(5250)
    expect(stateOf(hanging)).toBe('up')
    await pass(5000)
    expect(stateOf(hanging)).toBe('slow')
    await pass(26_000)
    expect(stateOf(hanging)).toBe('down')
    expect(relays.upstreams.isUp(hanging.address)).toBe(false)
  })

  test('whoever waits at it moves at once when it is judged', async () => {
    let silent = false
    const hanging = await upstream({ greeting: (connection) => silent || connection.say('220 hello') })
    const good = await upstream()
    await begin([hanging, good], { dial: { connectTimeoutMs: 120_000 } })
    silent = true
    // A check is under way for 4 s when the client comes, whose own patience is two minutes.
    await pass(9000)
    using first = await clientOf(hanging)
    const answer = await timed(send(first.client), 300_000)
    expect(answer?.value).toMatch(/^250/)
    expect(answer?.ms).toBeLessThanOrEqual(1500)
  })
})

describe('where no other is up', () => {
  test('one that greets after 20 s is slow, not down: it is waited for, and shown as slow', async () => {
    const late = (connection: UpstreamConnection): void => {
      setTimeout(() => connection.say('220 at last'), 20_000)
    }
    const slow = await upstream({ greeting: late })
    await begin([slow])
    await pass(22_000)
    expect(stateOf(slow)).toBe('slow')
    expect(relays.upstreams.isUp(slow.address)).toBe(true)
    const answer = await timed(send(relays.client()), 300_000)
    expect(answer?.value).toMatch(/^250/)
    expect(answer?.ms).toBeGreaterThanOrEqual(20_000)
    await pass(60_000)
    expect(stateOf(slow)).toBe('slow')
    expect(relays.told.filter(({ msg }) => /down/.test(msg))).toEqual([])
  })

  test('one that hangs is waited for until it is judged down, and not for the whole of the client’s patience', async () => {
    let silent = false
    const hanging = await upstream({ greeting: (connection) => silent || connection.say('220 hello') })
    await begin([hanging])
    silent = true
    const answer = await timed(relays.client().rcpt(MAIL, RCPT), 300_000)
    expect(answer && read(answer.value)).toBe('refused: upstream_lost')
    expect(answer?.ms).toBeLessThanOrEqual(41_000)
  })

  test('one that becomes well meanwhile takes over who waits', async () => {
    let silent = false
    const hanging = await upstream({ greeting: (connection) => silent || connection.say('220 hello') })
    let well = false
    const other = await upstream({ greeting: (connection) => void (well && connection.say('220 hello')) })
    await begin([hanging, other])
    await pass(31_000)
    expect(stateOf(other)).toBe('down')
    silent = true
    const sending = send(relays.client())
    await pass(10_000)
    well = true
    for (const connection of other.connections) if (!connection.closed) connection.say('220 hello')
    const answer = await timed(sending, 300_000)
    expect(answer?.value).toMatch(/^250/)
    expect(other.mailed()).toHaveLength(1)
  })
})
