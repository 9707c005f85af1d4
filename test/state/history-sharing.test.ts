/** The history of clients, put together by several nodes over a real Redis. */
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { hourOf } from '../../src/core/time.ts'
import { standingAlone } from '../../src/overload/standing.ts'
import { netsOf } from '../../src/state/domains.ts'
import { History } from '../../src/state/history.ts'
import { FILL, NEWS, TELL } from '../../src/state/history-scripts.ts'
import { HistorySharing } from '../../src/state/history-sharing.ts'
import { type Lesson, NO_PAST, OWN_MEMORY, taught } from '../../src/state/past.ts'
import { connectRedis, type RedisClient, type RedisLink } from '../../src/state/redis.ts'
import { MOST_UNTOLD } from '../../src/state/untold.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { addressOf } from './shared-nodes.ts'

const DAY = 86_400_000
const GOOD: Lesson = { good: 1, bad: 0 }
const BAD: Lesson = { good: 0, bad: 1 }
const IP = '192.0.2.1'
/** The pace between two tellings that is shipped. */
const SHIPPED = 0
const IP6 = '2001:db8:1:2::1'
let redis: RedisServer
let at = 0
const running: Node[] = []
const stops: (() => Promise<void>)[] = []
beforeEach(async () => {
  redis = await startRedis()
  at = 20_500 * DAY
})
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.stop()
})

interface Node {
  readonly history: History
  readonly link: RedisLink
  readonly warnings: string[]
  isUp: boolean
  /** Commands that Redis refused. */
  failed: number
  /** Answers to TELL that do not arrive. */
  losing: number
  stop(): Promise<void>
}

function historyOf(ttlMs: number): History {
  return new History({
    standingAlone: (own) => standingAlone(own, { after: 3, days: 2 }),
    ttlMs: () => ttlMs,
    now: () => at,
    seed: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
    capacity: 1 << 16,
  })
}

const silent = (): void => undefined
const SILENT: Log = { debug: silent, info: silent, warn: silent, error: silent, flush: silent }

async function begin(ttlMs = 100 * DAY, everyMs: number = 30): Promise<Node> {
  const history = historyOf(ttlMs)
  const warnings: string[] = []
  const warn = (fields: unknown): void => void warnings.push(String((fields as { err?: string }).err))
  const address = addressOf(`redis://127.0.0.1:${redis.port}`)
  const link = connectRedis({ address, timeoutMs: 2000, log: SILENT })
  const node = { history, link, warnings, isUp: true, failed: 0, losing: 0 }
  const client = {
    async eval(...args: [string, number, ...string[]]) {
      const answer = await link.client.eval(...args)
      if (args[0] !== TELL || node.losing === 0) return answer
      node.losing--
      throw new Error('the answer is lost')
    },
  } as unknown as RedisClient
  const sharing = new HistorySharing({
    ...{ history, client, prefix: 'test:', ttlMs: () => ttlMs, elapsed: () => performance.now() },
    ...(everyMs !== SHIPPED && { everyMs }),
    log: { ...SILENT, warn },
    knownAfter: () => 3,
    isUp: () => link.connected() && node.isUp,
    watched(_, answer) {
      answer.catch(() => node.failed++)
      return answer
    },
  })
  await eventually(
    () => link.connected(),
    (open) => open,
  )
  await sharing.start()
  const stop = async (): Promise<void> => {
    await sharing.stop()
    await link.close()
  }
  const started = Object.assign(node, { stop })
  running.push(started)
  return started
}
const gone = async (node: Node): Promise<void> => {
  running.splice(running.indexOf(node), 1)
  await node.stop()
}
const good = ({ history }: Node, ip = IP) => history.own(ip).good
const heard = (node: Node, count: number, ip = IP) =>
  eventually(
    () => good(node, ip),
    (has) => has === count,
    5000,
  )

test.each([IP, IP6, '255.255.255.255'])('nodes add up what they learn of %s', async (ip) => {
  const [a, b] = [await begin(), await begin()]
  a.history.learn(ip, GOOD)
  a.history.learn(ip, GOOD)
  b.history.learn(ip, GOOD)
  for (const node of [a, b]) await heard(node, 3, ip)
  at += DAY
  b.history.learn(ip, GOOD)
  await heard(a, 4, ip)
  expect(a.history.count('known')).toBe(1)
  // What a friend is spoiled by, all nodes hear.
  for (let i = 0; i < 4; i++) b.history.learn(ip, BAD)
  await eventually(
    () => a.history.count('known'),
    (count) => count === 0,
    5000,
  )
})

test('as it is shipped, all nodes know within five seconds what one has learnt', async () => {
  const [a, b] = [await begin(undefined, SHIPPED), await begin(undefined, SHIPPED)]
  a.history.learn(IP, GOOD)
  await heard(b, 1)
})

test('what turned out to be spam at one node is so at all, and no node writes back what it was before', async () => {
  const [a, b, c] = [await begin(), await begin(), await begin()]
  for (let i = 0; i < 5; i++) a.history.learn(IP, GOOD)
  for (const node of [a, b, c]) await heard(node, 5)
  const of = async (recentGood: number, recentBad: number) => {
    for (const node of [a, b, c]) {
      await eventually(
        () => node.history.own(IP),
        (own) => own.recentGood === recentGood && Math.round(own.recentBad) === recentBad,
        5000,
      )
    }
  }
  for (let i = 1; i <= 3; i++) {
    b.history.learn(IP, { good: 0, bad: 1, undone: 1 })
    await of(5 - i, i)
  }
  c.history.learn(IP, { good: 0, bad: -1, undone: -1 })
  await of(3, 2)
  expect((await begin()).history.own(IP)).toMatchObject({ good: 5, recentGood: 3, recentBad: 2 })
})

test('what only one node knows is bad comes along when somebody has heard a good message', async () => {
  const [a, b] = [await begin(), await begin()]
  for (let i = 0; i < 3; i++) a.history.learn(IP, BAD)
  b.history.learn(IP, GOOD)
  await eventually(
    () => b.history.count('suspect'),
    (count) => count === 1,
  )
  const later = '192.0.2.2'
  for (let i = 0; i < 3; i++) a.history.learn(later, BAD)
  a.history.learn(later, GOOD)
  await eventually(
    () => b.history.own(later).recentBad,
    (bad) => bad === 3,
  )
})

test('a node that starts knows what others have learnt, and their neighbourhood', async () => {
  const a = await begin()
  for (let i = 1; i <= 5; i++) a.history.learn(`198.51.100.${i}`, { good: 3, bad: 0 })
  at += DAY
  a.history.learn('198.51.100.1', GOOD)
  await gone(a)
  const b = await begin()
  expect([1, 5].map((i) => good(b, `198.51.100.${i}`))).toEqual([4, 3])
  expect(b.history.net('198.51.100.77')).toMatchObject({ good: 5 })
})

test('more clients than one answer holds all arrive', async () => {
  const a = await begin()
  for (let i = 0; i < 20_000; i++) a.history.learn(`10.1.${i >> 8}.${i & 255}`, GOOD)
  await eventually(
    () => a.history.untold,
    (rest) => rest === 0,
    15_000,
  )
  const b = await begin()
  await eventually(
    () => b.history.count('seen'),
    (count) => count === 20_000,
    15_000,
  )
})

test('strangers that sent only bad mail are not written to Redis', async () => {
  const a = await begin()
  for (let i = 0; i < 1000; i++) a.history.learn(`10.1.${i >> 8}.${i & 255}`, BAD)
  expect(a.history.untold).toBe(0)
})

test('what was learnt while Redis was away is told afterwards, and no more than there is room for', async () => {
  const [a, b] = [await begin(), await begin()]
  a.isUp = false
  a.history.learn(IP, GOOD)
  for (let i = 0; i < MOST_UNTOLD + 1000; i++) a.history.learn(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, GOOD)
  expect(a.history.untold).toBe(MOST_UNTOLD)
  expect(good(b)).toBe(0)
  at += DAY
  a.history.learn(IP, { good: 2, bad: 0 })
  a.isUp = true
  await heard(b, 3)
  // Also over how many days it was.
  expect(b.history.count('known')).toBe(1)
})

test('a Redis that comes back empty is filled again', async () => {
  const a = await begin()
  for (let i = 0; i < 300; i++) a.history.learn(`10.1.${i >> 8}.${i & 255}`, GOOD)
  await eventually(
    () => a.history.untold,
    (rest) => rest === 0,
  )
  const keys = () => (running[0] as Node).link.client.hlen('test:history:{3}')
  await eventually(keys, (count) => count > 2)
  // A node that has heard the name of each group.
  await gone(a)
  const c = await begin()
  expect(c.history.count('seen')).toBe(300)
  await (c.link.client as unknown as { flushall: () => Promise<unknown> }).flushall()
  await eventually(keys, (count) => count > 2)
  const b = await begin()
  await eventually(
    () => b.history.count('seen'),
    (count) => count === 300,
    10_000,
  )
})

test('a Redis that loses what it was filled with just now is filled again', async () => {
  // Long enough between two looks at Redis for both to happen.
  const a = await begin(undefined, 400)
  const { client } = a.link
  const count = async () => {
    const groups = Array.from({ length: 16 }, (_, group) => client.zcard(`test:history:{${group}}:changes`))
    return (await Promise.all(groups)).reduce((sum, each) => sum + each, 0)
  }
  for (let i = 0; i < 50; i++) a.history.learn(`10.1.0.${i}`, GOOD)
  const filled = () => eventually(count, (has) => has === 50)
  await filled()
  await (client as unknown as { flushall: () => Promise<unknown> }).flushall()
  await filled()
})

test('a node that starts with a history writes it to an empty Redis, and does not wait for that', async () => {
  const history = historyOf(DAY)
  history.learn(IP, GOOD)
  const scripts: string[] = []
  const client = {
    async eval(script: string) {
      scripts.push(script)
      return script === NEWS ? ['', '0'] : 1
    },
  } as unknown as RedisClient
  const sharing = new HistorySharing({
    ...{ history, client, prefix: 'test:', ttlMs: () => DAY, elapsed: () => performance.now(), log: SILENT },
    ...{ knownAfter: () => 3, isUp: () => true, watched: (_use, promise) => promise, everyMs: 30 },
  })
  stops.push(() => sharing.stop())
  await sharing.start()
  expect(scripts).toEqual(new Array(17).fill(NEWS))
  await eventually(
    () => scripts.includes(FILL),
    (has) => has,
  )
})

test('a friend that sends mail while Redis is being filled again stays a friend', async () => {
  const [a, b] = [await begin(), await begin()]
  a.history.learn(IP, { good: 5, bad: 0 })
  at += DAY
  a.history.learn(IP, GOOD)
  await heard(b, 6)
  await (a.link.client as unknown as { flushall: () => Promise<unknown> }).flushall()
  b.history.learn(IP, GOOD)
  // Eight, if it came between what the node told and what it filled Redis with: then it is in both.
  const filled = (node: Node) =>
    eventually(
      () => good(node),
      (has) => has === 7 || has === 8,
      5000,
    )
  await filled(a)
  const c = await begin()
  await filled(c)
  for (const { history } of [a, b, c]) expect(history.count('known')).toBe(1)
})

test('keys expire, and no client outlives HISTORY_TTL', async () => {
  const a = await begin(2 * DAY)
  a.history.learn(IP, GOOD)
  await eventually(
    () => a.history.untold,
    (rest) => rest === 0,
  )
  await gone(a)
  const b = await begin(2 * DAY)
  expect(good(b)).toBe(1)
  const [batch, ...batches] = (await b.link.client.keys('test:history:*:told:*')) as [string, ...string[]]
  expect(batches).toEqual([])
  const kept = await b.link.client.pttl(batch)
  expect(kept).toBeGreaterThan(3_600_000 - 60_000)
  expect(kept).toBeLessThanOrEqual(3_600_000)
  const keys = ((await b.link.client.keys('test:history:*')) as string[]).filter((key) => key !== batch)
  expect(keys).toHaveLength(2)
  for (const key of keys) {
    const left = await b.link.client.pttl(key)
    expect(left).toBeGreaterThan(2 * DAY - 60_000)
    expect(left).toBeLessThanOrEqual(2 * DAY)
  }
  at += 2 * DAY
  const c = await begin(2 * DAY)
  expect(good(c)).toBe(0)
})

test('Redis reckons as this node does', async () => {
  const a = await begin()
  let past = NO_PAST
  for (const [after, lesson] of [
    [0, { good: 20, bad: 0 }],
    [30, { good: 0, bad: 3.5 }],
    [5, { good: 9, bad: 2 }],
    [60, BAD],
    [1, { good: 0, bad: 1, undone: 2 }],
    [1, { good: 1, bad: -9 }],
    [1, { good: 0, bad: 2, undone: 99 }],
    [1, { good: 2, bad: 0 }],
  ] as const) {
    at += after * 3_600_000
    a.history.learn(IP, lesson)
    past = taught(past, lesson, hourOf(at), OWN_MEMORY)
    await eventually(
      () => a.history.untold,
      (rest) => rest === 0,
    )
  }
  await gone(a)
  const { good: count, recentGood, recentBad, first, lastGood, lastBad } = (await begin()).history.own(IP)
  expect({ count, first, lastGood, lastBad }).toEqual({
    count: past.good,
    first: past.first,
    lastGood: past.lastGood,
    lastBad: past.lastBad,
  })
  expect(recentGood).toBeCloseTo(past.recentGood, 1)
  expect(recentBad).toBeCloseTo(past.recentBad, 1)
})

test('what is told again because the answer was lost counts once', async () => {
  const [a, b] = [await begin(), await begin()]
  a.history.learn(IP, { good: 30, bad: 0 })
  await heard(b, 30)
  a.losing = 7
  a.history.learn(IP, BAD)
  await eventually(
    () => a.losing,
    (left) => left < 4,
  )
  // What comes meanwhile is told afterwards.
  a.history.learn(IP, GOOD)
  await heard(b, 31)
  expect(a.losing).toBe(0)
  for (const { history } of [a, b]) expect(history.own(IP).recentBad).toBeCloseTo(((25 / 26) * 25) / 26, 1)
})

test('batches behind one without an answer are not lost', async () => {
  const [a, b] = [await begin(), await begin()]
  a.losing = 20
  // More than one batch for each group.
  for (let i = 0; i < 8000; i++) a.history.learn(`10.1.${i >> 8}.${i & 255}`, GOOD)
  await eventually(
    () => b.history.count('seen'),
    (count) => count === 8000,
  )
  for (let i = 0; i < 8000; i += 99) expect(good(b, `10.1.${i >> 8}.${i & 255}`)).toBe(1)
})

test('what one node tells late weighs what is left of it, and sets nothing back', async () => {
  const [a, b] = [await begin(), await begin()]
  a.isUp = false
  a.history.learn(IP, { good: 1, bad: 4 })
  at += DAY
  b.history.learn(IP, { good: 2, bad: 0 })
  await eventually(
    () => b.history.untold,
    (rest) => rest === 0,
  )
  a.isUp = true
  await heard(b, 3)
  const [now, before] = [hourOf(at), hourOf(at - DAY)]
  expect(b.history.own(IP)).toMatchObject({ recentBad: 2, first: before, lastGood: now, lastBad: before })
})

test('what nodes have learnt of a domain is put together, and a Redis that comes back empty is filled with it', async () => {
  const [a, b] = await Promise.all([begin(), begin()])
  const name = 'provider.example'
  for (let i = 0; i < 30; i++) a.history.domains.learn(name, `10.0.${i}.1`, GOOD)
  for (let i = 30; i < 60; i++) b.history.domains.learn(name, `10.0.${i}.1`, GOOD)
  b.history.domains.learn(name, '10.1.0.1', BAD)
  const both = [a, b].map(({ history }) => history)
  const all = async (node: History) => {
    await eventually(
      () => node.domains.of(name).good,
      (good) => good === 60,
      5000,
    )
    return node.domains.of(name)
  }
  for (const node of both) {
    const past = await all(node)
    expect(past).toMatchObject({ good: 60, recentBad: 1 })
    expect(netsOf(past)).toBeGreaterThan(15)
  }
  // In Redis, too, the networks of both are there.
  const fresh = await begin()
  expect((await all(fresh.history)).buckets).toBe(a.history.domains.of(name).buckets)
  await gone(fresh)
  await (a.link.client as unknown as { flushall: () => Promise<unknown> }).flushall()
  const late = await begin()
  await all(late.history)
  expect(late.history.domains.of(name)).toEqual(both[0]?.domains.of(name))
  expect([a, b, late].flatMap(({ warnings }) => warnings)).toEqual([])
})

test.each([1, 2, 3, 10])(
  'where a group is full, strangers make room, and none with KNOWN_AFTER=%i good messages',
  async (after) => {
    const { link } = await begin()
    const hour = hourOf(at)
    const keys = ['test:{0}', 'test:{0}:changes', 'test:{0}:told:node']
    let number = 0
    const tell = (good: number, ...fields: string[]) => {
      const clients = fields.flatMap((field) => [field, good, 0, hour, hour, 0, -1])
      return link.client.eval(TELL, 3, ...keys, 1e9, 'name', ++number, hour, 8, OWN_MEMORY, after, ...clients)
    }
    const held = async () =>
      ((await link.client.hkeys('test:{0}')) as string[]).filter((each) => !'#@'.includes(each)).sort()
    const known = Array.from({ length: 4 }, (_, i) => `known${i}`)
    await tell(after, ...known)
    await tell(after - 1, ...Array.from({ length: 4 }, (_, i) => `stranger${i}`))
    expect(await held()).toHaveLength(8)
    for (let i = 0; i < 10; i++) await tell(after, `new${i}`)
    expect((await held()).filter((each) => each.startsWith('known'))).toEqual(known)
    expect(await held()).toEqual([...known, 'new0', 'new1', 'new2', 'new3'].sort())
  },
)

describe('what is no history in Redis', () => {
  test.each([
    ['nonsense', ''],
    ['', ''],
    ['1 2 3', ''],
    ['-1 1 0 1 1 0', ''],
    ['nan nan nan nan nan nan', ''],
    ['1e308 1 0 1 1 0', ''],
  ])('a value %j is passed over, and written anew', async (value) => {
    const a = await begin()
    a.history.learn(IP, GOOD)
    await eventually(
      () => a.history.untold,
      (rest) => rest === 0,
    )
    const [key] = ((await a.link.client.keys('test:history:*')) as string[]).filter((each) => each.endsWith('}'))
    await a.link.client.hset(key as string, '00000000c0000201', value)
    const b = await begin()
    expect(good(b)).toBe(0)
    b.history.learn(IP, GOOD)
    await heard(a, 1)
    expect(b.warnings).toEqual([])
  })

  test('a Redis whose groups have another name each time is asked no more often for it, and told what is learnt', async () => {
    let asked = 0
    let told = 0
    const client = {
      async eval(script: string) {
        // As an answer over the network, which other events come before.
        await setImmediate()
        if (script === NEWS) return [`name${++asked}`, '5']
        if (script === TELL) told++
        return 5
      },
    } as unknown as RedisClient
    const history = historyOf(DAY)
    const sharing = new HistorySharing({
      ...{ history, client, prefix: 'test:', ttlMs: () => DAY, elapsed: () => performance.now(), log: SILENT },
      ...{ knownAfter: () => 3, isUp: () => true, watched: (_use, promise) => promise, everyMs: 30 },
    })
    stops.push(() => sharing.stop())
    await sharing.start()
    for (let i = 1; i <= 2; i++) {
      const before = asked
      history.learn(IP, GOOD)
      await eventually(
        () => told,
        (count) => count === i,
        10_000,
      )
      // Once for each group, and what it was about to ask when this was learnt.
      expect(asked - before).toBeLessThanOrEqual(2 * 16)
    }
  })

  test('a key of another type stops nobody, is told, and what failed is told again when it is gone', async () => {
    const keys = Array.from({ length: 16 }, (_, group) => `test:history:{${group}}`)
    const other = await begin()
    for (const key of keys) await other.link.client.set(key, 'nonsense')
    const a = await begin()
    a.history.learn(IP, GOOD)
    expect(good(a)).toBe(1)
    const before = a.failed
    await eventually(
      () => a.failed - before,
      (count) => count >= 3,
    )
    expect(a.warnings).toHaveLength(1)
    for (const key of keys) await other.link.client.del(key)
    await heard(other, 1)
  })
})
