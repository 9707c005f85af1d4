/** Slots that give way, with relays and a server behind them: what the holder hears, and what the server sees of it. */
import { Socket } from 'node:net'
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import type { Relay } from '../../../src/relay/transaction/relay.ts'
import { eventually } from '../../support/app.ts'
import { type Script, startUpstream, type Upstream } from '../../support/upstream.ts'
import { BODY, MAIL, RCPT, type Relays, type RelaysOptions, read, send, startRelays } from '../relays.ts'

const GREEDY = '203.0.113.66'
const HONEST = '198.51.100.7'

let server: Upstream
let relays: Relays
afterEach(async () => {
  jest.restoreAllMocks()
  await relays.stop()
  await eventually(relays.held, (held) => held === 0)
  await server.stop()
})

async function start(maxConnections: number, options: RelaysOptions = {}, script?: Script): Promise<void> {
  server = await startUpstream()
  relays = await startRelays([server], { maxConnections, ...options })
  server.script = script
}
const client = (ip: string): Relay => relays.client('h.example', ip)

/** A transaction as far as RCPT. */
async function opened(ip: string): Promise<Relay> {
  const relay = client(ip)
  expect(read(await relay.rcpt(MAIL, RCPT))).toMatch(/^250/)
  return relay
}
const inText = async (ip: string): Promise<Relay> => {
  const relay = await opened(ip)
  expect(read(await relay.data())).toMatch(/^354/)
  return relay
}
/** What it took, in milliseconds. */
async function timed(act: Promise<string>): Promise<{ heard: string; ms: number }> {
  const started = performance.now()
  const heard = await act
  return { heard, ms: performance.now() - started }
}

test.each([
  ['thirty addresses', (i: number) => `198.51.100.${i}`],
  ['one address', () => HONEST],
])('R49 30 clients of %s that each send a message and stay: with two slots all are served at once', async (_, from) => {
  await start(2)
  const sent = await Promise.all(Array.from({ length: 30 }, (_, i) => timed(send(client(from(i))))))
  expect(sent.filter(({ heard }) => heard.startsWith('250'))).toHaveLength(30)
  expect(Math.max(...sent.map(({ ms }) => ms))).toBeLessThan(1000)
})

test('R49 and while nobody waits, a connection is kept for its client’s next message', async () => {
  await start(2, { dial: { clientIp: 'xclient' } }, undefined)
  await relays.stop()
  await server.stop()
  server = await startUpstream({ extensions: ['XCLIENT NAME ADDR PORT PROTO HELO', 'PIPELINING'] })
  relays = await startRelays([server], { maxConnections: 2, dial: { clientIp: 'xclient' } })
  const sender = client(HONEST)
  for (let i = 0; i < 3; i++) expect(await send(sender)).toMatch(/^250/)
  expect(server.mailed()).toHaveLength(1)
})

test('of IPv6 the addresses of a /48 are one source, since one hand may hold them all', async () => {
  await start(2)
  for (const ip of ['2001:db8:1:1::1', '2001:db8:1:2::1']) await opened(ip)
  const { heard, ms } = await timed(send(client(HONEST)))
  expect(heard).toMatch(/^250/)
  expect(ms).toBeLessThan(1000)
})

describe('a mail server that is long about RCPT or DATA, for a source over its share, while others wait', () => {
  /** The shipped five seconds, in which the clock is moved and nothing waits. */
  const passes = (ms: number): void => {
    const { now } = performance
    jest.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + ms)
  }

  test.each(['RCPT', 'DATA'])('at %s: the holder hears 451, and the other has the slot', async (verb) => {
    let asked = 0
    await start(2, {}, (said, line) => {
      if (said === verb && (verb === 'DATA' || line.includes('hangs'))) {
        asked++
        if (verb === 'RCPT' || asked <= 2) return 'silence'
      }
      return 'default'
    })
    const holders = [client(GREEDY), client(GREEDY)]
    const hanging = holders.map(async (holder) => {
      if (verb === 'RCPT') return read(await holder.rcpt(MAIL, 'RCPT TO:<hangs@example.test>'))
      await holder.rcpt(MAIL, RCPT)
      return read(await holder.data())
    })
    await eventually(
      () => asked,
      (count) => count === 2,
    )
    passes(5000)
    const { heard, ms } = await timed(send(client(HONEST)))
    expect(heard).toMatch(/^250/)
    expect(ms).toBeLessThan(1000)
    expect(await Promise.race(hanging)).toBe('refused: upstream_full')
    expect(relays.held()).toBe(2)
    expect(server.bodies()).toHaveLength(1)
  })
})

describe('a client who holds a slot and does not get on, while others wait', () => {
  test('after RCPT: one address held all slots; another is served within a second, and one holder hears 451', async () => {
    await start(5)
    const holders: Relay[] = []
    for (let i = 0; i < 5; i++) holders.push(await opened(GREEDY))
    const { heard, ms } = await timed(send(client(HONEST)))
    expect(heard).toMatch(/^250/)
    expect(ms).toBeLessThan(1000)
    // The one that was silent for longest, and no other.
    const [first, ...others] = holders
    expect(read((await first?.rcpt(MAIL, RCPT)) as never)).toBe('refused: upstream_full')
    expect(read((await first?.data()) as never)).toBe('refused: upstream_full')
    expect(server.mailed()[0]?.lines.at(-1)).toBe('QUIT')
    for (const other of others) expect(read(await other.rcpt(MAIL, RCPT))).toMatch(/^250/)
  })

  test('keeps it while nobody waits', async () => {
    await start(2)
    const holder = await opened(GREEDY)
    const other = client(HONEST)
    for (let i = 0; i < 3; i++) expect(await send(other)).toMatch(/^250/)
    expect(read(await holder.rcpt(MAIL, RCPT))).toMatch(/^250/)
  })

  test('S7 in the text, by a trickle: the upstream sees no dot, the client hears 451', async () => {
    await start(1)
    const holder = await inText(GREEDY)
    const trickle = setInterval(() => void holder.write(Buffer.from('x')), 10)
    const { heard, ms } = await timed(send(client(HONEST)))
    clearInterval(trickle)
    expect(heard).toMatch(/^250/)
    expect(ms).toBeLessThan(2000)
    const { answer, result } = await holder.end()
    expect([read(answer), result]).toEqual(['refused: upstream_full', 'deferred'])
    expect(server.bodies()).toEqual([BODY])
    // The next message is a new one.
    holder.reset()
    expect(await send(holder)).toMatch(/^250/)
  })

  test('in a text that keeps coming, is not meant', async () => {
    await start(1, { patience: { slotMs: 2500 } })
    const sender = await inText(HONEST)
    const flow = setInterval(() => void sender.write(Buffer.from(`${'x'.repeat(998)}\r\n`)), 10)
    expect(await send(client(GREEDY))).toBe('refused: upstream_full')
    clearInterval(flow)
    expect((await sender.end()).result).toBe('accepted')
  })

  test.each(['RCPT', 'DATA', 'DOT'])('nor is one whose upstream owes the answer to %s', async (slow) => {
    let answer: (reply: string) => void = () => undefined
    const script: Script = (verb) =>
      verb === slow
        ? new Promise<string>((resolve) => {
            answer = resolve
          })
        : 'default'
    await start(1, { patience: { slotMs: 500 } }, script)
    const relay = client(HONEST)
    const ending = (async () => {
      await relay.rcpt(MAIL, RCPT)
      await relay.data()
      await relay.write(BODY)
      return relay.end()
    })()
    await eventually(
      () => server.mailed()[0]?.lines.length ?? 0,
      (lines) => lines > 2,
    )
    expect(await send(client(GREEDY))).toBe('refused: upstream_full')
    server.script = undefined
    answer(slow === 'DATA' ? '354 go' : '250 2.0.0 Ok')
    expect((await ending).result).toBe('accepted')
  })
})

test.each(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL'])(
  'with nothing left of our own to connect with (%s) the upstream stays up, the client hears 451, the log tells it once',
  async (code) => {
    await start(50, { healthIntervalMs: 20 })
    const connect = jest.spyOn(Socket.prototype, 'connect').mockImplementation(function (this: Socket) {
      process.nextTick(() => this.destroy(Object.assign(new Error(`connect ${code}`), { code })))
      return this
    })
    for (let i = 0; i < 4; i++) expect(await send(client(HONEST))).toBe('refused: upstream_full')
    const before = connect.mock.calls.length
    await eventually(
      () => connect.mock.calls.length,
      (calls) => calls > before + 2,
    )
    expect(relays.upstreams.isUp(server.address)).toBe(true)
    const told = relays.told.filter(({ msg }) => msg.includes(code))
    expect(told.map(({ level }) => level)).toEqual(['error'])
    connect.mockRestore()
    expect(await send(client(HONEST))).toMatch(/^250/)
  },
)
