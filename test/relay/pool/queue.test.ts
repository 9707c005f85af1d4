/** Who of those that wait is next, and for how long each may wait: in plain numbers, and with the pool as it is shipped. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { isFriend } from '../../../src/core/client.ts'
import { netOf } from '../../../src/core/ip.ts'
import type { Wait } from '../../../src/relay/pool/contention.ts'
import type { Holder } from '../../../src/relay/pool/fairness.ts'
import type { NoUpstream } from '../../../src/relay/pool/no-upstream.ts'
import {
  atService,
  type Congestion,
  INTERVAL_MS,
  lateOf,
  NONE,
  nextOf,
  STRANGER_MS,
  TARGET_MS,
  toLeave,
} from '../../../src/relay/pool/queue.ts'
import type { Server } from '../../../src/relay/pool/server.ts'
import type { Slot } from '../../../src/relay/pool/slot.ts'
import type { Slots } from '../../../src/relay/pool/slots.ts'
import { Turn } from '../../../src/relay/pool/turn.ts'
import { elapsed, serverAt, slotsOf, waits } from './pool.ts'

const holderOf = (source: string, isStranger: boolean, giveWay = (): void => undefined): Holder => ({
  ...{
    source,
    net: netOf(source),
    standing: isStranger ? ('new' as const) : ('known' as const),
    slow: false,
    turn: new Turn(0),
  },
  giveWay,
})
const OVERLOADED: Congestion = { since: 0, isOverloaded: true }

describe('who is next', () => {
  interface Someone {
    readonly name: string
    readonly friend?: boolean
    readonly held?: number
  }
  /** @param all in the order in which they came */
  function next(all: readonly Someone[], isOverloaded = false, connections = 100, except?: string): string | undefined {
    const held = (source: string): number => all.find(({ name }) => name === source)?.held ?? 0
    const waiting = all.map(
      ({ name, friend = false }): Wait => ({ holder: holderOf(name, !friend), avoid: undefined, since: 0 }),
    )
    const mayBeServed = ({ holder }: Wait): boolean => holder.source !== except
    const heldByNet = (): number => 0
    return nextOf(waiting, { held, heldByNet, connections, isOverloaded, mayBeServed })?.holder.source
  }

  test.each<[string, readonly Someone[], string, string]>([
    ['a friend before strangers', [{ name: 'a' }, { name: 'f', friend: true, held: 3 }, { name: 'b' }], 'f', 'f'],
    [
      'of friends the one that holds the fewest',
      [
        { name: 'f', friend: true, held: 3 },
        { name: 'g', friend: true, held: 2 },
      ],
      'g',
      'g',
    ],
    [
      'of strangers the one that holds the fewest',
      [
        { name: 'a', held: 2 },
        { name: 'b', held: 1 },
        { name: 'c', held: 1 },
      ],
      'b',
      'c',
    ],
    [
      'of equals the first, and the newest while the queue stands',
      [{ name: 'a' }, { name: 'b' }, { name: 'c' }],
      'a',
      'c',
    ],
    [
      'of equal friends the same',
      [{ name: 'x' }, { name: 'f', friend: true }, { name: 'g', friend: true }, { name: 'y' }],
      'f',
      'g',
    ],
    [
      'a friend that holds a quarter is no better than a stranger',
      [
        { name: 'f', friend: true, held: 25 },
        { name: 'a', held: 1 },
      ],
      'a',
      'a',
    ],
    [
      'and no worse',
      [
        { name: 'a', held: 26 },
        { name: 'f', friend: true, held: 25 },
      ],
      'f',
      'f',
    ],
    ['with less than a quarter it goes first', [{ name: 'a' }, { name: 'f', friend: true, held: 24 }], 'f', 'f'],
  ])('%s', (_, all, usual, overloaded) => {
    expect([next(all), next(all, true)]).toEqual([usual, overloaded])
  })

  const stranger = (source: string, isClear = false): Wait => ({
    ...{ holder: { ...holderOf(source, true), isClear }, avoid: undefined, since: 0 },
  })
  const first = (waiting: readonly Wait[], heldByNet: Readonly<Record<string, number>> = {}): string | undefined =>
    nextOf(waiting, {
      ...{ held: () => 0, connections: 100, isOverloaded: false, mayBeServed: () => true },
      heldByNet: (net, whose) => (whose === 'strangers' ? (heldByNet[net] ?? 0) : 0),
    })?.holder.source

  test('of strangers those of the network that holds the fewest, whatever address of it comes', () => {
    const crowd = Array.from({ length: 9 }, (_, i) => stranger(`192.0.2.${i}`))
    expect(first([...crowd, stranger('203.0.113.1')], { '192.0.2.0/24': 3, '203.0.113.0/24': 2 })).toBe('203.0.113.1')
  })

  test('of equal strangers one that speaks TLS, and whoever holds less before it', () => {
    const [clear, tls] = [stranger('192.0.2.1', true), stranger('203.0.113.1')]
    expect([first([clear, tls]), first([tls, clear])]).toEqual(['203.0.113.1', '203.0.113.1'])
    expect(first([clear, stranger('198.51.100.1', true)])).toBe('192.0.2.1')
    expect(first([clear, tls], { '203.0.113.0/24': 1 })).toBe('192.0.2.1')
  })

  test('whoever cannot be served holds up nobody', () => {
    expect(next([{ name: 'f', friend: true }, { name: 'a' }], false, 100, 'f')).toBe('a')
    expect(next([{ name: 'f', friend: true }], false, 100, 'f')).toBeUndefined()
  })

  test('where there are fewer than four connections, a friend goes first with none', () => {
    expect(next([{ name: 'a' }, { name: 'f', friend: true }], false, 1)).toBe('f')
    expect(next([{ name: 'a' }, { name: 'f', friend: true, held: 1 }], false, 3)).toBe('a')
  })

  test('each of those who wait is looked at once', () => {
    const looks = jest.fn(() => 1)
    const waiting = Array.from({ length: 1000 }, (_, i) => ({
      ...{ holder: holderOf(`${i}`, true), avoid: undefined, since: 0 },
    }))
    const order = { held: looks, heldByNet: () => 0, connections: 50, isOverloaded: false, mayBeServed: () => true }
    nextOf(waiting, order)
    expect(looks).toHaveBeenCalledTimes(1000)
  })
})

describe('whether the queue only stands', () => {
  const server = serverAt('192.0.2.1')
  const waits = (since: number, avoid?: Server): Wait => ({ holder: holderOf('a', true), avoid, since })
  /** One client is served each 100 ms; the first has waited for so long, at each. */
  function stateAfter(ms: number, waited: (now: number) => number, from = NONE): Congestion {
    let state = from
    for (let now = 0; now <= ms; now += 100) state = atService(state, [waits(now - waited(now))], now)
    return state
  }

  test('it does where the first has waited for more than half a second throughout five', () => {
    expect(stateAfter(INTERVAL_MS - 100, () => TARGET_MS + 1).isOverloaded).toBe(false)
    expect(stateAfter(INTERVAL_MS, () => TARGET_MS + 1).isOverloaded).toBe(true)
  })

  test('a burst of four seconds, however long it makes them wait, does not count, nor does one after another', () => {
    expect(stateAfter(60_000, (now) => (now % 4500 === 0 ? TARGET_MS : 9000)).isOverloaded).toBe(false)
  })

  test('it no longer does when the first has waited for less, once', () => {
    expect(atService(OVERLOADED, [waits(9000)], 9000 + TARGET_MS)).toEqual(NONE)
    expect(atService(OVERLOADED, [waits(9000)], 9001 + TARGET_MS).isOverloaded).toBe(true)
  })

  test('whoever does not want a certain server does not count', () => {
    expect(atService(OVERLOADED, [waits(0, server), waits(9900)], 10_000)).toEqual(NONE)
    expect(atService(OVERLOADED, [waits(0, server)], 10_000)).toEqual(NONE)
  })
})

test('strangers have waited for too long after two seconds while the queue stands, and friends never', () => {
  const waiting = [0, 1000, 3000].flatMap((since) =>
    [true, false].map((isStranger) => ({ holder: holderOf(`${since}`, isStranger), avoid: undefined, since })),
  )
  const late = (state: Congestion) =>
    lateOf(waiting, state, 1000 + STRANGER_MS).map(({ since, holder }) => [since, !isFriend(holder)])
  expect(late(NONE)).toEqual([])
  expect(late(OVERLOADED)).toEqual([
    [0, true],
    [1000, true],
  ])
})

test('of a full queue the stranger leaves that would be served last', () => {
  const waiting = ['f', 'a', 'b', 'g'].map((source, since) => ({
    ...{ holder: holderOf(source, source < 'c'), avoid: undefined, since },
  }))
  const comes = holderOf('h', false)
  const leaving = [toLeave(waiting, NONE, comes), toLeave(waiting, OVERLOADED, comes)]
  expect(leaving.map((each) => each?.holder.source)).toEqual(['b', 'a'])
  expect(toLeave([], NONE, comes)).toBeUndefined()
})

test('from a full queue a stranger in the clear leaves for one with TLS, and nobody for one in the clear', () => {
  const [tls, clear] = [false, true].map((isClear) => ({ ...holderOf('new', true), isClear })) as [Holder, Holder]
  const wait = (holder: Holder): Wait => ({ holder, avoid: undefined, since: 0 })
  const all = [wait(tls), wait(clear), wait(holderOf('f', false)), wait(tls)]
  expect(toLeave(all, NONE, tls)).toBe(all[1])
  expect(toLeave(all, NONE, clear)).toBeUndefined()
  expect(toLeave([wait(tls)], NONE, tls)).toBeUndefined()
})

describe('with the pool', () => {
  interface Client {
    slot: Slot | undefined
    refused: string | undefined
    waitedMs: number
  }
  let slots: Slots
  let held: Slot[]
  /** Clients so far, in the order in which they came. */
  let everybody: Client[]
  beforeEach(() => {
    jest.useFakeTimers()
  })
  afterEach(() => {
    slots.stop()
    jest.useRealTimers()
  })
  const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms)

  /** A pool of which all connections are held by somebody who gives none back. */
  async function pool(max: number, waiting = 1000): Promise<void> {
    const server = serverAt('192.0.2.1')
    slots = slotsOf({ servers: () => [server], reserve: () => 0, max: () => max, waiting })
    held = []
    everybody = []
    for (let i = 0; i < max; i++) held.push(await slots.take(holderOf(`203.0.113.${i}`, true)))
  }

  function client(source: string, isStranger = true): Client {
    const it: Client = { slot: undefined, refused: undefined, waitedMs: 0 }
    const began = elapsed()
    everybody.push(it)
    slots
      .take(holderOf(source, isStranger))
      .then(
        (slot) => {
          it.slot = slot
        },
        (error: NoUpstream) => {
          it.refused = error.why
        },
      )
      .finally(() => {
        it.waitedMs = elapsed() - began
      })
    return it
  }

  /** Each second one client is served, and two strangers and, if told so, a friend come. */
  async function seconds(count: number, withFriends = false): Promise<{ strangers: Client[]; friends: Client[] }> {
    const strangers: Client[] = []
    const friends: Client[] = []
    for (let i = 0; i < count; i++) {
      for (const each of [0, 1]) strangers.push(client(`198.51.${each}.${i}`))
      if (withFriends && i % 2 === 0) friends.push(client(`192.0.2.${i}`, false))
      await pass(1000)
      const done = everybody.find(({ slot }) => slot !== undefined && !freed.has(slot))?.slot ?? (held[0] as Slot)
      freed.add(done)
      done.free()
      await pass(0)
    }
    return { strangers, friends }
  }
  const freed = new Set<Slot>()

  test('first come, first served, for ten seconds, until the queue has stood for five', async () => {
    await pool(1)
    const { strangers } = await seconds(5)
    const order = strangers.map((each, i) => (each.slot === undefined ? undefined : i)).filter((i) => i !== undefined)
    expect(order).toEqual([0, 1, 2, 3, 4])
    expect(strangers.map(({ refused }) => refused)).toEqual(new Array(10).fill(undefined))
  })

  test('how many wait, and how long they waited, is told by standing, whether they were served or not', async () => {
    await pool(1)
    const before = [waits('known'), waits('new')]
    client('192.0.2.1', false)
    for (const each of [1, 2]) client(`198.51.100.${each}`)
    await pass(3000)
    expect([slots.waiting('known'), slots.waiting('new'), slots.waiting('seen')]).toEqual([1, 2, 0])
    held[0]?.free()
    await pass(7000)
    expect([slots.waiting('known'), slots.waiting('new')]).toEqual([0, 0])
    const since = [waits('known'), waits('new')].map(({ count, sum }, i) => [
      count - (before[i]?.count ?? 0),
      sum - (before[i]?.sum ?? 0),
    ])
    expect(since).toEqual([
      [1, 3],
      [2, 20],
    ])
  })

  test('then the newest, and strangers hear 451 after two seconds; friends are served, and are never shortened', async () => {
    await pool(1)
    await seconds(8)
    const { strangers, friends } = await seconds(8, true)
    await pass(STRANGER_MS + 100)
    for (const { slot, refused, waitedMs } of strangers) {
      expect(slot === undefined ? refused : undefined).toBe(slot === undefined ? 'upstream_full' : undefined)
      expect(waitedMs).toBeLessThanOrEqual(STRANGER_MS + 100)
    }
    expect(friends).toHaveLength(4)
    for (const friend of friends) expect([friend.slot === undefined, friend.waitedMs]).toEqual([false, 1000])
  })

  test('while the mail servers stall, all wait for ten seconds, in the order in which they came', async () => {
    await pool(1)
    const waiting = [client('198.51.100.1'), client('198.51.100.2')]
    await pass(9900)
    expect(waiting.map(({ refused }) => refused)).toEqual([undefined, undefined])
    held[0]?.free()
    await pass(0)
    expect(waiting.map(({ slot }) => slot !== undefined)).toEqual([true, false])
  })

  test('a queue that has been empty is a new one', async () => {
    await pool(1)
    await seconds(8)
    await pass(10_000)
    const last = everybody.findLast(({ slot }) => slot !== undefined && !freed.has(slot))?.slot
    const waiting = [client('198.51.100.1'), client('198.51.100.2')]
    await pass(5000)
    expect(waiting.map(({ refused }) => refused)).toEqual([undefined, undefined])
    last?.free()
    await pass(0)
    expect(waiting.map(({ slot }) => slot !== undefined)).toEqual([true, false])
  })

  test('a friend finds a place in a queue that strangers have filled, and a stranger does not', async () => {
    await pool(1, 4)
    const strangers = [1, 2, 3, 4].map((i) => client(`198.51.100.${i}`))
    const stranger = client('198.51.100.5')
    const friend = client('192.0.2.1', false)
    await pass(0)
    expect([...strangers, stranger, friend].map(({ refused }) => refused !== undefined)).toEqual([
      false,
      false,
      false,
      true,
      true,
      false,
    ])
    held[0]?.free()
    await pass(0)
    expect(friend.slot).toBeDefined()
  })

  test('friends of one /24 that together hold a quarter wait like strangers, and those of others go first', async () => {
    await pool(8)
    for (const [i, source] of ['192.0.2.1', '192.0.2.2'].entries()) {
      client(source, false)
      held[i]?.free()
      await pass(0)
    }
    const more = [client('192.0.2.3', false), client('192.0.2.4', false)]
    const other = client('198.51.100.1', false)
    held[2]?.free()
    await pass(0)
    expect([...more, other].map(({ slot }) => slot !== undefined)).toEqual([false, false, true])
    // Their turn is that of one client that holds two: after a stranger that holds none.
    const stranger = client('198.51.101.1')
    for (const i of [3, 4]) {
      held[i]?.free()
      await pass(0)
      expect([...more, stranger].map(({ slot }) => slot !== undefined)).toEqual([i === 4, false, true])
    }
    // With less than a quarter they go first again.
    const late = client('198.51.102.1')
    for (const { slot } of everybody.slice(0, 2)) slot?.free()
    await pass(0)
    expect(more[1]?.slot).toBeDefined()
    expect(late.slot).toBeDefined()
  })

  test('one friend alone does not fill the queue', async () => {
    await pool(1, 8)
    for (let i = 0; i < 8; i++) client(`198.51.100.${i}`)
    const friends = Array.from({ length: 5 }, () => client('192.0.2.1', false))
    await pass(0)
    expect(friends.map(({ refused }) => refused !== undefined)).toEqual([false, false, true, true, true])
  })
})
