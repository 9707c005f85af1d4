/** What is remembered of networks that send spam: in plain numbers, and by several nodes over a real Redis. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { hasDoubtfulNeighbours, standingOf } from '../../src/overload/standing.ts'
import { History, PARTS } from '../../src/state/history.ts'
import { entryOf, netIn } from '../../src/state/neighbourhoods.ts'
import { NeighbourhoodsSharing } from '../../src/state/neighbourhoods-sharing.ts'
import { pastIn, textOf } from '../../src/state/past-text.ts'
import { connectRedis } from '../../src/state/redis.ts'
import { MOST_OF_PART } from '../../src/state/told-parts.ts'
import { startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { addressOf } from './shared-nodes.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
/** What makes a good address. */
const GOOD = { good: 2, bad: 0 }
const BAD = { good: 0, bad: 1 }
const STRANGER = '192.0.2.250'
let now: number
beforeEach(() => {
  now = 20_000 * DAY + 12 * HOUR
})

function begin(capacity = 4096): History {
  const seed = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])
  return new History({ standingAlone: () => 'new', ttlMs: () => 100 * DAY, now: () => now, seed, capacity })
}
const standingIn = (history: History, ip = STRANGER) =>
  standingOf({ isAllowed: false, own: history.own(ip), net: history.net(ip) }, { after: 3, days: 2 })
const badIn = (history: History, ip = STRANGER): number => history.net(ip).recentBad
/** Whoever has told, others hear. */
function exchange(...nodes: readonly History[]): void {
  for (const from of nodes) {
    for (const each of from.nets.takeUntold()) for (const node of nodes) node.nets.hear(each)
  }
}
function two(capacity?: number): [History, History] {
  const nodes: [History, History] = [begin(capacity), begin(capacity)]
  for (const { nets } of nodes) nets.share()
  return nodes
}

test('one bad address makes its neighbours doubtful for a day, and four make them suspect', () => {
  const history = begin()
  history.learn('192.0.2.1', BAD)
  expect([standingIn(history), hasDoubtfulNeighbours(history.net(STRANGER))]).toEqual(['new', true])
  expect(hasDoubtfulNeighbours(history.net('198.51.100.1'))).toBe(false)
  now += DAY
  expect(hasDoubtfulNeighbours(history.net(STRANGER))).toBe(true)
  now += HOUR
  expect(hasDoubtfulNeighbours(history.net(STRANGER))).toBe(false)
  for (const host of [2, 3, 4, 5]) history.learn(`192.0.2.${host}`, BAD)
  expect(standingIn(history)).toBe('suspect')
})

test('where a fifth of the addresses send good mail, one is no doubt', () => {
  const history = begin()
  for (const host of [1, 2, 3, 4]) history.learn(`192.0.2.${host}`, BAD)
  history.learn('192.0.2.5', GOOD)
  expect([hasDoubtfulNeighbours(history.net(STRANGER)), standingIn(history)]).toEqual([false, 'new'])
})

test('spam that was taken, from addresses that are seen once, makes no good network', () => {
  const history = begin()
  // For a fortnight, a dozen addresses a day, of which half get through.
  for (let day = 0; day < 14; day++) {
    for (let i = 0; i < 12; i++) {
      history.learn(`192.0.2.${1 + day * 12 + i}`, i % 2 === 0 ? { good: 1, bad: 0 } : BAD)
    }
    now += DAY
  }
  expect([standingIn(history), history.net(STRANGER).good]).toEqual(['suspect', 0])
})

test('a provider stays one from its first day on: much mail from each address, most of it good', () => {
  const history = begin()
  for (let message = 0; message < 20; message++) {
    for (let host = 1; host <= 50; host++) history.learn(`192.0.2.${host}`, (host + message) % 10 === 0 ? BAD : GOOD)
  }
  expect([hasDoubtfulNeighbours(history.net(STRANGER)), standingIn(history)]).toEqual([false, 'new'])
  now += DAY
  for (let host = 1; host <= 50; host++) history.learn(`192.0.2.${host}`, GOOD)
  expect(standingIn(history)).toBe('seen')
})

test('one customer of a shared /48 makes nobody suspect: what a /56 sends counts once', () => {
  const history = begin()
  const stranger = '2001:db8:1:ff00::1'
  for (let subnet = 0; subnet < 64; subnet++)
    history.learn(`2001:db8:1:1${subnet.toString(16).padStart(2, '0')}::1`, BAD)
  expect([badIn(history, stranger), standingIn(history, stranger)]).toEqual([1, 'new'])
  for (const customer of [2, 3, 4, 5]) history.learn(`2001:db8:1:${customer}00::1`, BAD)
  expect(standingIn(history, stranger)).toBe('suspect')
})

test('one customer of a shared /48 lends nobody good neighbours: what a /56 sends counts once a day', () => {
  const [stranger, machine] = ['2001:db8:1:ff00::1', [...'12345678'].map((subnet) => `2001:db8:1:110${subnet}::1`)]
  const [history, other] = [begin(), begin()]
  for (let day = 0; day < 2; day++) {
    for (const ip of machine) history.learn(ip, GOOD)
    history.each(0, (key, past) => void other.hear(key, past))
    for (let part = 1; part < PARTS; part++) history.each(part, (key, past) => void other.hear(key, past))
    now += DAY
  }
  for (const each of [history, other]) expect([each.net(stranger).good, standingIn(each, stranger)]).toEqual([2, 'new'])
  // Neighbours of other customers do, and of IPv4 each address.
  for (const customer of [2, 3, 4]) history.learn(`2001:db8:1:${customer}00::1`, GOOD)
  expect([history.net(stranger).good, standingIn(history, stranger)]).toEqual([5, 'seen'])
  for (let host = 1; host <= 200; host++) history.learn(`192.0.2.${host}`, GOOD)
  expect(history.net(STRANGER).good).toBe(200)
})

test('what counts already does not fade by being said again', () => {
  const history = begin()
  for (const host of [1, 2, 3, 4]) history.learn(`192.0.2.${host}`, BAD)
  now += 6 * HOUR
  const before = badIn(history)
  for (let i = 0; i < 100; i++) history.learn('192.0.2.1', BAD)
  expect([badIn(history), standingIn(history)]).toEqual([before, 'suspect'])
})

test('an address that was called bad by mistake is no bad neighbour', () => {
  const history = begin()
  history.nets.share()
  history.learn('192.0.2.1', BAD)
  history.learn('192.0.2.2', BAD)
  const told = history.nets.takeUntold()
  history.learn('192.0.2.1', { good: 1, bad: -1 })
  expect(badIn(history)).toBe(1)
  // Nor do records from before say it again.
  for (const record of told) history.nets.hear(record)
  expect(badIn(history)).toBe(1)
  // It counts once.
  for (let i = 0; i < 2; i++) history.nets.forgive('192.0.2.1')
  expect(badIn(history)).toBe(1)
})

test('a network is as old as its oldest good address', () => {
  const history = begin()
  const one = { good: 1, bad: 0 }
  for (let host = 1; host <= 5; host++) history.learn(`192.0.2.${host}`, one)
  now += DAY
  expect(standingIn(history)).toBe('new')
  for (let host = 1; host <= 5; host++) history.learn(`192.0.2.${host}`, one)
  expect([standingIn(history), history.net(STRANGER).good]).toEqual(['seen', 5])
})

test('an address is good once a day, and no more while it is bad', () => {
  const history = begin()
  const good = (): number => history.net(STRANGER).good
  const learn = (...lessons: readonly { good: number; bad: number }[]): void => {
    for (const each of lessons) history.learn('192.0.2.1', each)
  }
  const one = { good: 1, bad: 0 }
  learn(one)
  expect(good()).toBe(0)
  learn(one, one, one)
  expect(good()).toBe(1)
  now += DAY
  learn(one, one)
  expect(good()).toBe(2)
  now += DAY
  learn(...new Array(9).fill(BAD), one)
  expect(good()).toBe(2)
})

test('nodes tell each other of bad addresses: each counts once, however often it is told, and by whomever', () => {
  const [a, b] = two()
  a.learn('192.0.2.1', BAD)
  a.learn('192.0.2.2', BAD)
  b.learn('192.0.2.2', BAD)
  b.learn('192.0.2.3', BAD)
  exchange(a, b)
  expect([badIn(a), badIn(b)]).toEqual([3, 3])
  expect(standingIn(a)).toBe('new')
  // What is told again changes nothing.
  a.nets.each(0, 1, (net) => b.nets.hear(net))
  b.nets.each(0, 1, (net) => a.nets.hear(net))
  expect([badIn(a), badIn(b)]).toEqual([3, 3])
  a.learn('192.0.2.4', BAD)
  exchange(a, b)
  expect([standingIn(a), standingIn(b)]).toEqual(['suspect', 'suspect'])
})

test('an address that is bad again the next day counts again, by all nodes once', () => {
  const [a, b] = two()
  a.learn('192.0.2.1', BAD)
  exchange(a, b)
  now += DAY
  a.learn('192.0.2.1', BAD)
  b.learn('192.0.2.1', BAD)
  exchange(a, b)
  for (const node of [a, b]) expect(badIn(node)).toBeCloseTo(1.5, 2)
})

test('what is told late of yesterday, and what comes from the future, is no more than it is', () => {
  const [a, b] = two()
  a.learn('192.0.2.1', BAD)
  const late = a.nets.takeUntold()
  now += DAY
  b.learn('192.0.2.2', BAD)
  for (const each of late) b.nets.hear(each)
  expect(badIn(b)).toBe(1)
  const ahead = begin()
  for (const each of late) ahead.nets.hear({ ...each, hour: each.hour + 10_000, buckets: 0xffff_ffff, bad: 8_000_000 })
  expect(badIn(ahead)).toBe(100)
  expect(ahead.net(STRANGER).lastBad).toBe(Math.floor(now / HOUR))
})

test('good mail of the neighbourhood stays, whatever is heard of it', () => {
  const [a, b] = two()
  for (const host of [1, 2, 3, 4, 5]) b.learn(`192.0.2.${host}`, GOOD)
  for (const host of [6, 7, 8, 9]) a.learn(`192.0.2.${host}`, BAD)
  exchange(a, b)
  expect(b.net(STRANGER)).toMatchObject({ good: 5, recentGood: 5, recentBad: 4 })
})

test('of a network no more is told on a day than what makes a suspect', () => {
  const [a, b] = two()
  let told = 0
  for (let host = 1; host < 255; host++) {
    a.learn(`192.0.2.${host}`, BAD)
    const untold = a.nets.takeUntold()
    told += untold.length
    for (const each of untold) b.nets.hear(each)
  }
  expect(told).toBe(6)
  expect(badIn(a)).toBe(28)
  expect([badIn(b), standingIn(b)]).toEqual([6, 'suspect'])
})

test('of one /32 no more is told on a day than a part of what all may tell, by all nodes together', () => {
  const [a, b] = two(1 << 19)
  // A wide one, which each of them sees half of.
  const learn = (node: History, from: number, block: string) => {
    for (let i = 0; i < 6000; i++) node.learn(`2001:${block}:${(from + i).toString(16)}:1::1`, BAD)
  }
  const told = (node: History): number => {
    const records = node.nets.takeUntold()
    // A Redis that comes back is read from its beginning.
    for (let i = 0; i < 3; i++) for (const each of records) for (const other of [a, b]) other.nets.hear(each)
    return records.length
  }
  learn(a, 0, 'db8')
  expect(told(a)).toBe(6000)
  learn(b, 6000, 'db8')
  expect(told(b)).toBe(MOST_OF_PART - 6000)
  // Others have theirs, what is known here counts here, and tomorrow is another day.
  learn(b, 0, 'db9')
  for (let i = 0; i < 256; i++) b.learn(`192.0.${i}.1`, BAD)
  expect(told(b)).toBe(6000 + 256)
  now += DAY
  learn(b, 0, 'db8')
  expect(told(b)).toBe(6000)
})

test('as text it is what it was, IPv6 as well', () => {
  const a = begin()
  const ips = ['192.0.2.1', '2001:db8:1:7::1', '255.255.255.1', 'ffff:ffff:ffff:1::1']
  for (const ip of ips) a.learn(ip, BAD)
  const b = begin()
  a.nets.each(0, 1, (net) => {
    const [key, past] = entryOf(net)
    b.nets.hear(netIn(key, pastIn(textOf(past))!))
  })
  for (const ip of [...ips, '2001:db8:1:8::1']) expect(b.net(ip)).toEqual(a.net(ip))
  expect(badIn(b, '2001:db8:2::1')).toBe(0)
})

describe('over Redis', () => {
  const ends: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })
  const LOG = { debug() {}, info() {}, warn() {}, error() {}, flush() {} }

  async function node(port: number) {
    const history = begin()
    const link = connectRedis({ address: addressOf(`redis://127.0.0.1:${port}`), timeoutMs: 2000, log: LOG })
    ends.push(() => link.close())
    const sharing = new NeighbourhoodsSharing({
      ...{ nets: history.nets, client: link.client, prefix: 'spillway:', log: LOG, now: () => now },
      ...{ elapsed: () => performance.now(), upSince: () => (link.connected() ? 1 : undefined) },
      watched: (_, answer) => answer,
    })
    await eventually(
      () => link.connected(),
      (open) => open,
    )
    return { history, sharing, client: link.client }
  }

  test('a node hears within a step, and one that starts later knows what was bad in the last three days', async () => {
    const redis = await startRedis()
    ends.push(() => redis.stop())
    const [a, b] = [await node(redis.port), await node(redis.port)]
    for (const host of [1, 2, 3, 4]) a.history.learn(`192.0.2.${host}`, BAD)
    a.history.learn('2001:db8:1::1', BAD)
    for (const { sharing } of [a, b]) await sharing.step()
    expect([standingIn(b.history), badIn(b.history, '2001:db8:1:2::3')]).toEqual(['suspect', 1])
    now += 2 * DAY
    b.history.learn('198.51.100.1', BAD)
    await b.sharing.step()
    const c = await node(redis.port)
    await c.sharing.step()
    expect([badIn(c.history), badIn(c.history, '198.51.100.9')]).toEqual([1, 1])
    now += 2 * DAY
    const d = await node(redis.port)
    await d.sharing.step()
    expect([badIn(d.history), badIn(d.history, '198.51.100.9')]).toEqual([0, 0.25])
  })

  test('a Redis that was emptied, with no connection lost, is read from its beginning', async () => {
    const redis = await startRedis()
    ends.push(() => redis.stop())
    const [a, b] = [await node(redis.port), await node(redis.port)]
    for (const host of [1, 2, 3]) a.history.learn(`192.0.2.${host}`, BAD)
    a.history.learn('198.51.100.1', BAD)
    for (const { sharing } of [a, b]) await sharing.step()
    await a.client.flushall()
    b.history.learn('203.0.113.1', BAD)
    await b.sharing.step()
    a.history.learn('192.0.2.4', BAD)
    for (const { sharing } of [a, b]) await sharing.step()
    expect([badIn(a.history, '203.0.113.9'), badIn(b.history)]).toEqual([1, 4])
  })

  test('all of it can be written at once, a day of a large flood in 600 kB', async () => {
    const redis = await startRedis()
    ends.push(() => redis.stop())
    const a = await node(redis.port)
    const full = new History({
      ...{ standingAlone: () => 'new' as const, ttlMs: () => 100 * DAY, now: () => now, seed: new Uint8Array(8) },
    })
    for (let i = 0; i < 30_000; i++) for (const host of [1, 2, 3, 4]) full.learn(`11.${i >> 8}.${i & 255}.${host}`, BAD)
    const writer = new NeighbourhoodsSharing({
      ...{ nets: full.nets, client: a.client, prefix: 'spillway:', log: LOG, now: () => now, upSince: () => 1 },
      ...{ elapsed: () => performance.now(), watched: <T>(_: unknown, answer: Promise<T>) => answer },
    })
    await writer.writeAll()
    expect(await a.client.strlen(`spillway:neighbourhoods:1:${Math.floor(now / DAY)}`)).toBe(30_000 * 20)
    await a.sharing.step()
    let heard = 0
    a.history.nets.each(0, 1, () => heard++)
    // A day that is full takes no more, and whoever writes is told.
    const key = `spillway:neighbourhoods:1:${Math.floor(now / DAY)}`
    await a.client.setrange(key, 300_000 * 20 - 20, 'x'.repeat(20))
    await expect(writer.writeAll()).rejects.toThrow('there is no room for more')
    // As many as there is room for in a small history.
    expect(heard).toBeGreaterThan(400)
  })
})
