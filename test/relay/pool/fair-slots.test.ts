import { Socket } from 'node:net'
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import type { Slot } from '../../../src/relay/pool/slots.ts'
import type { Relay } from '../../../src/relay/transaction/transaction.ts'
import { eventually } from '../../support/app.ts'
import { type Script, startUpstream, type Upstream } from '../../support/upstream.ts'
import { BODY, MAIL, RCPT, type Relays, type RelaysOptions, read, send, startRelays } from '../relays.ts'

const GREEDY = '203.0.113.66'
const HONEST = '198.51.100.7'
const LIVES = Buffer.from(`${'x'.repeat(510)}\r\n`.repeat(2))

let server: Upstream
let relays: Relays
afterEach(async () => {
  jest.restoreAllMocks()
  await relays.stop()
  await eventually(relays.held, (held) => held === 0)
  await server.stop()
})

async function start(maxConnections: number, options: RelaysOptions, script?: Script): Promise<void> {
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
const inBody = async (ip: string): Promise<Relay> => {
  const relay = await opened(ip)
  expect(read(await relay.data())).toMatch(/^354/)
  return relay
}

describe('a source’s fair share of the slots', () => {
  test('is not asked about while there is room, and is all it gets when there is none: the next hears 451 at once', async () => {
    await start(30, { patience: { slotMs: 60_000 } })
    const greedy = await Promise.all(Array.from({ length: 30 }, () => relays.slot(undefined, GREEDY)))
    await expect(relays.slot(undefined, GREEDY)).rejects.toThrow('upstream_full')
    // More than half of 30 is too much for those who wait, too.
    const others = Array.from({ length: 16 }, () => relays.slot(undefined, HONEST))
    await expect(others.pop()).rejects.toThrow('upstream_full')
    greedy.pop()?.free()
    const got = await others[0]
    // The others still wait: what comes free is theirs.
    await expect(relays.slot(undefined, GREEDY)).rejects.toThrow('upstream_full')
    for (const slot of [got, ...greedy]) slot?.free()
    for (const each of others.slice(1)) (await each).free()
    const again = await Promise.all(Array.from({ length: 30 }, () => relays.slot(undefined, GREEDY)))
    for (const slot of again) slot.free()
  })

  test('is two at least', async () => {
    await start(3, { patience: { slotMs: 60_000 } })
    const taken = await Promise.all(Array.from({ length: 3 }, () => relays.slot(undefined, GREEDY)))
    const waiting = Array.from({ length: 2 }, () => relays.slot(undefined, HONEST))
    await expect(relays.slot(undefined, HONEST)).rejects.toThrow('upstream_full')
    await expect(relays.slot(undefined, GREEDY)).rejects.toThrow('upstream_full')
    for (const slot of taken) slot.free()
    for (const each of waiting) (await each).free()
  })
})

describe('clients that type slowly', () => {
  test('S7 never hold more than a quarter of the slots together; the others find theirs without a wait', async () => {
    await start(20, {})
    const slow = (): Promise<Slot> => relays.slot(undefined, `203.0.113.${addresses++}`, undefined, true)
    let addresses = 1
    const held = await Promise.all(Array.from({ length: 5 }, slow))
    await expect(slow()).rejects.toThrow('upstream_full')
    const fast = await Promise.all(Array.from({ length: 15 }, () => relays.slot(undefined, HONEST)))
    held.pop()?.free()
    held.push(await slow())
    await expect(slow()).rejects.toThrow('upstream_full')
    for (const slot of [...held, ...fast]) slot.free()
  })

  test('S7 are one at least, also where there is one slot only', async () => {
    await start(1, {})
    const slot = await relays.slot(undefined, GREEDY, undefined, true)
    await expect(relays.slot(undefined, HONEST, undefined, true)).rejects.toThrow('upstream_full')
    slot.free()
  })
})

describe('clients who hold a slot and fall silent while others wait', () => {
  test('S7 the sooner the more are waiting, but not within five seconds', async () => {
    const quietMs = 60_000
    await start(2, { patience: { quietMs, slotMs: 30_000 } })
    const holders = [await opened(GREEDY), await opened('203.0.113.67')]
    const waiting = Array.from({ length: 6 }, (_, i) => relays.slot(undefined, `198.51.100.${i + 1}`))
    const now = performance.now
    const later = (ms: number): unknown =>
      jest.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + ms)
    try {
      later(8000)
      await new Promise((resolve) => setTimeout(resolve, 1200))
      for (const holder of holders) expect(read(await holder.rcpt(MAIL, RCPT))).toMatch(/^250/)
      later(8000 + 11_000)
      const got = [await waiting[0], await waiting[1]]
      for (const holder of holders) expect(read(await holder.rcpt(MAIL, RCPT))).toBe('refused: upstream_full')
      for (const slot of got) slot?.free()
      for (const each of waiting.slice(2)) (await each).free()
    } finally {
      jest.restoreAllMocks()
    }
  })

  test('after RCPT: one address held all slots; another gets through, and the holder hears 451 when it goes on', async () => {
    await start(5, { patience: { quietMs: 150, slotMs: 5000 } })
    const holders: Relay[] = []
    for (let i = 0; i < 5; i++) holders.push(await opened(GREEDY))
    expect(read(await client(GREEDY).rcpt(MAIL, RCPT))).toBe('refused: upstream_full')
    expect(await send(client(HONEST))).toMatch(/^250/)
    // The one that was silent for longest, and no other.
    const [first, ...others] = holders
    expect(read((await first?.rcpt(MAIL, RCPT)) as never)).toBe('refused: upstream_full')
    expect(read((await first?.data()) as never)).toBe('refused: upstream_full')
    expect(server.mailed()[0]?.lines.at(-1)).toBe('QUIT')
    for (const other of others) expect(read(await other.rcpt(MAIL, RCPT))).toMatch(/^250/)
  })

  test('keep it while nobody waits', async () => {
    await start(2, { patience: { quietMs: 10, slotMs: 5000 } })
    const holder = await opened(GREEDY)
    const other = client(HONEST)
    for (let i = 0; i < 3; i++) expect(await send(other)).toMatch(/^250/)
    expect(read(await holder.rcpt(MAIL, RCPT))).toMatch(/^250/)
  })

  test('in the body, by a trickle: the upstream sees no dot, the client hears 451', async () => {
    await start(1, { patience: { quietMs: 150, slotMs: 5000 }, budgets: { parkMs: 50 } })
    const holder = await inBody(GREEDY)
    const trickle = setInterval(() => void holder.write(Buffer.from('x')), 10)
    expect(await send(client(HONEST))).toMatch(/^250/)
    clearInterval(trickle)
    const { answer, result } = await holder.end()
    expect([read(answer), result]).toEqual(['refused: upstream_full', 'deferred'])
    expect(server.bodies()).toEqual([BODY])
    // The next message is a new one.
    holder.reset()
    expect(await send(holder)).toMatch(/^250/)
  })

  test('in the body, at a rate that is one, are not meant', async () => {
    await start(1, { patience: { quietMs: 150, slotMs: 700 } })
    const sender = await inBody(HONEST)
    const flow = setInterval(() => void sender.write(LIVES), 10)
    expect(await send(client(GREEDY))).toBe('refused: upstream_full')
    clearInterval(flow)
    expect((await sender.end()).result).toBe('accepted')
  })

  test.each(['RCPT', 'DATA', 'DOT'])('nor are those whose upstream owes the answer to %s', async (slow) => {
    let answer: (reply: string) => void = () => undefined
    const script: Script = (verb) =>
      verb === slow
        ? new Promise<string>((resolve) => {
            answer = resolve
          })
        : 'default'
    await start(1, { patience: { quietMs: 50, slotMs: 500 } }, script)
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

test('a slot that is not wanted any more is not waited for', async () => {
  await start(1, { patience: { slotMs: 60_000 } })
  const taken = await relays.slot()
  await expect(relays.slot(undefined, HONEST, AbortSignal.abort('gone'))).rejects.toThrow('upstream_full')
  taken.free()
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
