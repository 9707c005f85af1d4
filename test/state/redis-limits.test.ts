/** Limits counted in a real Redis by several nodes: that they are what they say, and what they cost. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { LimitName, Maximum, Rate } from '../../src/core/limits.ts'
import { createSharedCounter } from '../../src/state/limiter.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import {
  clientAt,
  earlyInWindow,
  freshClient,
  startNode,
  type TestNode,
  type TestNodeOptions,
  WINDOW,
} from './shared-nodes.ts'

let redis: RedisServer
let url: string
const running: TestNode[] = []
beforeAll(async () => {
  redis = await startRedis({ config: ['maxmemory-policy noeviction'] })
  url = `redis://127.0.0.1:${redis.port}`
})
beforeEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.call('flushall')
  await earlyInWindow(WINDOW, 4000)
})
afterAll(async () => {
  await Promise.all(running.map((each) => each.stop()))
  await redis.stop()
})

/** Nothing but these tests talks to this Redis, so they may wait for it longer than a client would. */
async function nodes<N extends number>(count: N, rates: Partial<Record<LimitName, Rate>>, more: TestNodeOptions = {}) {
  const all = await Promise.all(
    Array.from({ length: count }, () => startNode(url, { rates, timeoutMs: 2000, ...more })),
  )
  running.push(...all)
  for (const node of all) {
    await eventually(
      () => node.limits.nodes(),
      (seen) => seen >= count,
    )
  }
  return all as [TestNode, TestNode, ...TestNode[]]
}

const per = (max: number, windowMs = WINDOW): Rate => ({ max, windowMs })
const key = (limit: string, of: string): string => `test:l:${limit}:${of}`
/** Calls `act` so many times, `ms` apart; what a machine that stands still holds up comes later, and not all at once. */
async function paced(count: number, ms: number, act: (i: number) => void): Promise<void> {
  let at = performance.now()
  for (let i = 0; i < count; ) {
    at = Math.max(at, performance.now() - MOST_HELD_UP_MS)
    for (; i < count && at <= performance.now(); at += ms) act(i++)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
const MOST_HELD_UP_MS = 10
const told = async (all: readonly TestNode[]): Promise<void> => void (await Promise.all(all.map((node) => node.told())))

/** Counts in this window and in the one before. */
async function held(limit: string, of: string): Promise<number> {
  const told = await redis.call('hmget', key(limit, of), 'c', 'p')
  return told.split('\n').reduce((sum, each) => sum + Number(each), 0)
}

describe('one limit over two nodes', () => {
  test.each([
    ['evenly', [1, 1]],
    ['nine of ten at one', [9, 1]],
    ['all at one', [1, 0]],
  ])(
    '200/1m, 2,000 tries of as many clients, %s: 200 are let in, within 2 %%',
    async (_, [first = 1, second = 0]) => {
      await earlyInWindow(60_000, 10_000)
      const both = await nodes(2, { global_connections: per(200, 60_000) })
      let admitted = 0
      // 500 a second.
      await paced(2000, 2, (i) => {
        const node = both[i % (first + second) < first ? 0 : 1] as TestNode
        if (node.tries(freshClient())) admitted++
      })
      expect(admitted).toBeGreaterThanOrEqual(196)
      expect(admitted).toBeLessThanOrEqual(204)
      await told(both)
      expect(await held('global_connections', '*')).toBe(admitted)
    },
    20_000,
  )

  test('one address on both is one address', async () => {
    const both = await nodes(2, { ip_connections: per(20) })
    const client = freshClient()
    let admitted = 0
    for (let i = 0; i < 100; i++) {
      if (both[i % 2]?.tries(client)) admitted++
      await told(both)
    }
    // The one that is told last may have one more of what the other has just used up.
    expect(admitted).toBeGreaterThanOrEqual(20)
    expect(admitted).toBeLessThanOrEqual(21)
    expect(both[0].tries(freshClient())).toBe(true)
  })

  test('all at once and before either has heard of the other: each its share', async () => {
    const both = await nodes(2, { ip_connections: per(20) })
    const client = freshClient()
    const admitted = both.map((node) => Array.from({ length: 50 }, () => node.tries(client)).filter(Boolean).length)
    expect(admitted).toEqual([10, 10])
  })

  test('clients on the allow list are not counted', async () => {
    const [node] = await nodes(1, { ip_connections: per(1), global_connections: per(1) })
    for (let i = 0; i < 5; i++) expect(node.limits.take('connect', clientAt('192.0.2.7', 'trusted'))).toEqual({})
    expect(await redis.call('exists', key('global_connections', '*'))).toBe('0')
  })

  test('an observed limit lets pass, and the wider ones are charged', async () => {
    const enforced = (limit: LimitName): boolean => limit !== 'ip_connections'
    const [node] = await nodes(1, { ip_connections: per(2), global_connections: per(100) }, { enforced })
    const client = freshClient()
    for (let i = 0; i < 10; i++) {
      const usage = node.limits.take('connect', client)
      expect(usage.ip_connections?.used ?? 0).toBe(i + 1)
      expect(usage.global_connections?.used).toBe(i + 1)
    }
  })
})

describe('the maximum is asked for each client, at every call', () => {
  test('one that changes between two calls holds at once, at this node and at the other', async () => {
    let max = 10
    const [a, b] = await nodes(2, { ip_connections: per(10) }, { maximum: () => max })
    const client = freshClient()
    const admitted = async (tries: number): Promise<number> => {
      let count = 0
      for (let i = 0; i < tries; i++) {
        for (const node of [a, b]) {
          if (node.tries(client)) count++
          await told([a, b])
        }
      }
      return count
    }
    // One more at the node that has heard last: the other has just used up what was left.
    const first = await admitted(10)
    expect([10, 11]).toContain(first)
    max = 14
    const second = await admitted(10)
    expect([14, 15]).toContain(first + second)
    expect(a.limits.take('connect', client).ip_connections).toMatchObject({ max: 14 })
    max = 4
    expect(await admitted(5)).toBe(0)
    max = 16
    expect([16, 17]).toContain(first + second + (await admitted(10)))
  })

  test('nor does that of one client stand in for that of another, at the same moment', async () => {
    const maximum: Maximum = (limit, { ip }) => (limit === 'ip_connections' ? 100 : ip.endsWith('.1') ? 20 : 30)
    const [node] = await nodes(1, { ip_connections: per(100), net_connections: per(30) }, { maximum })
    const tries = (ip: string): boolean[] => Array.from({ length: 40 }, () => node.tries(clientAt(ip)))
    const [first, second] = [tries('192.0.2.1'), tries('192.0.2.2')]
    expect(first.filter(Boolean)).toHaveLength(20)
    expect(second.filter(Boolean)).toHaveLength(10)
    await node.told()
    expect(await held('net_connections', '192.0.2.0/24')).toBe(30)
  })

  test('nor does it for recipients, and those the cluster does not know', async () => {
    let max = 3
    const [node] = await nodes(1, { ip_recipients: per(3), unknown_recipients: per(3) }, { maximum: () => max })
    const client = freshClient()
    for (let i = 0; i < 5; i++)
      void [node.limits.recipient(client, {}), node.limits.heard(client, `u${i}@example.net`, true)]
    await eventually(
      () => held('unknown_recipients', client.source),
      (count) => count === 5,
    )
    max = 8
    expect(node.limits.recipient(client, {})).toMatchObject({ used: 4, max: 8 })
    expect(node.limits.lately(client)?.unknown).toMatchObject({ used: 5, max: 8 })
    max = 2
    expect(node.limits.recipient(client, {})?.used).toBeGreaterThan(2)
    expect(node.limits.lately(client)?.unknown).toMatchObject({ used: 5, max: 2 })
  })
})

describe('narrow and wide', () => {
  test('what a narrow limit refuses is not charged to a wider one', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(10), net_connections: per(500), global_connections: per(1000) })
    const client = freshClient()
    for (let i = 0; i < 10; i++) {
      b.tries(client)
      await b.told()
    }
    // B has spent the address's limit. A learns of it with the first it lets in.
    expect(a.tries(client)).toBe(true)
    await a.told()
    const usage = a.limits.take('connect', client)
    expect(usage.ip_connections).toEqual({ used: 12, max: 10, windowMs: WINDOW })
    expect(usage).not.toHaveProperty('net_connections')
    expect(usage).not.toHaveProperty('global_connections')
    for (let i = 0; i < 50; i++) a.tries(client)
    await told([a, b])
    expect(await held('global_connections', '*')).toBe(11)
    expect(await held('ip_connections', client.source)).toBe(11)
  })

  test('what a wide limit refuses is given back to the narrow ones', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(10), global_connections: per(5) })
    for (let i = 0; i < 5; i++) {
      b.tries(freshClient())
      await b.told()
    }
    a.tries(freshClient())
    await a.told()
    const client = freshClient()
    const used = await held('global_connections', '*')
    expect(a.limits.take('connect', client).global_connections).toEqual({ used: used + 1, max: 5, windowMs: WINDOW })
    await a.told()
    expect(await held('ip_connections', client.source)).toBe(0)
    expect(await held('global_connections', '*')).toBe(used)
  })

  test('what a limit that only observes is over and a wider one refuses is given back once', async () => {
    const enforced = (limit: LimitName): boolean => limit !== 'ip_connections'
    const [a] = await nodes(1, { ip_connections: per(3), global_connections: per(5) }, { enforced })
    const client = freshClient()
    for (let i = 0; i < 3; i++) expect(a.tries(client)).toBe(true)
    for (let i = 0; i < 2; i++) expect(a.tries(freshClient())).toBe(true)
    const usage = a.limits.take('connect', client)
    expect(usage).toMatchObject({ ip_connections: { used: 4 }, global_connections: { used: 6 } })
    await a.told()
    expect(await held('ip_connections', client.source)).toBe(3)
    expect(await held('global_connections', '*')).toBe(5)
  })

  test('only the part that is asked for is charged', async () => {
    const [node] = await nodes(1, { ip_messages: per(9), global_messages: per(9) })
    const client = freshClient()
    expect(Object.keys(node.limits.take('rcpt', client, 'everybody'))).toEqual(['global_messages'])
    expect(Object.keys(node.limits.take('rcpt', client, 'sender'))).toEqual(['ip_messages'])
    await node.told()
    expect(await held('global_messages', '*')).toBe(1)
    expect(await held('ip_messages', client.source)).toBe(1)
  })

  test('a flood of one address over its limit leaves the global one to the others', async () => {
    const both = await nodes(2, { ip_connections: per(10), global_connections: per(100) })
    const loud = freshClient()
    let others = 0
    for (let round = 0; round < 30; round++) {
      for (let i = 0; i < 20; i++) both[i % 2]?.tries(loud)
      for (const node of both) if (node.tries(freshClient())) others++
      await told(both)
    }
    expect(others).toBe(60)
    // At once each has its five; the one whose answer did not include those of the other has two of the five that were left then.
    const ofLoud = await held('ip_connections', loud.source)
    expect(ofLoud).toBeGreaterThanOrEqual(10)
    expect(ofLoud).toBeLessThanOrEqual(12)
  })
})

describe('what it costs', () => {
  /** The announcement of a node, which comes every other second, is the only other script. */
  const commands = (node: TestNode): number => node.metrics.redisCommands.of('add', 'ok').value

  test('addresses that come once or twice: no command; the count of everybody, no more than a pipeline in 10 ms', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(600), net_connections: per(6000) })
    for (let i = 0; i < 2000; i++) {
      const client = freshClient()
      for (const node of [a, b]) expect(node.tries(client)).toBe(true)
    }
    await told([a, b])
    expect([commands(a), commands(b)]).toEqual([0, 0])
    const [node] = await nodes(1, { global_connections: per(1_000_000) })
    const begin = performance.now()
    await paced(1000, 0.5, () => void node.tries(freshClient()))
    await node.told()
    expect(commands(node)).toBeLessThanOrEqual((performance.now() - begin) / 10 + 2)
  })

  test('an address over its limit, at this node or at another: none', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(10), net_connections: per(500), global_connections: per(1000) })
    const client = freshClient()
    for (let i = 0; i < 10; i++) {
      a.tries(client)
      await a.told()
    }
    b.tries(client)
    await told([a, b])
    const before = [commands(a), commands(b)]
    for (let i = 0; i < 1000; i++) for (const node of [a, b]) expect(node.tries(client)).toBe(false)
    await told([a, b])
    expect([commands(a), commands(b)]).toEqual(before)
  })

  test('new addresses that the global limit refuses: none', async () => {
    const [node] = await nodes(1, { ip_connections: per(10), global_connections: per(5) })
    for (let i = 0; i < 5; i++) node.tries(freshClient())
    await node.told()
    const before = commands(node)
    for (let i = 0; i < 100; i++) expect(node.tries(freshClient())).toBe(false)
    await node.told()
    expect(commands(node)).toBe(before)
  })

  test('all keys that have something to tell are one write', async () => {
    const [node] = await nodes(1, { ip_connections: per(9), net_connections: per(9), global_connections: per(1000) })
    const stream = (node.link.client as unknown as { stream: { write: (...args: unknown[]) => boolean } }).stream
    let writes = 0
    const write = stream.write.bind(stream)
    stream.write = (...args) => {
      writes++
      return write(...args)
    }
    for (let i = 0; i < 100; i++) node.tries(freshClient())
    await node.told()
    expect(commands(node)).toBe(201)
    // The announcement may be another.
    expect(writes).toBeLessThanOrEqual(2)
  })

  test('every key expires within two windows, and is small', async () => {
    const [node] = await nodes(1, { ip_connections: per(9, 10_000), global_connections: per(1000, 10_000) })
    const client = freshClient()
    node.tries(client)
    await node.told()
    const keys = (await redis.call('keys', '*')).split('\n')
    expect(keys.sort()).toEqual([key('global_connections', '*'), key('ip_connections', client.source), 'test:nodes'])
    for (const each of keys) {
      const left = Number(await redis.call('pttl', each))
      expect(left).toBeGreaterThan(0)
      expect(left).toBeLessThanOrEqual(20_000)
    }
    expect(Number(await redis.call('memory', 'usage', key('ip_connections', client.source)))).toBeLessThanOrEqual(200)
  })

  test('of nodes that have come and gone, the batches are forgotten', async () => {
    const [node] = await nodes(1, { global_connections: per(1000, 1000) })
    const all = key('global_connections', '*')
    for (let i = 0; i < 250; i++) await redis.call('hset', all, `gone${i}`, '1')
    await eventually(
      async () => {
        node.tries(freshClient())
        await node.told()
        return Number(await redis.call('hlen', all))
      },
      (count) => count < 10,
    )
  })
})

describe('recipients', () => {
  test('of one address are counted over all nodes', async () => {
    const both = await nodes(2, { ip_recipients: per(10), ip_messages: per(100) })
    const [a, b] = both
    const client = freshClient()
    for (let i = 0; i < 5; i++) expect(a.limits.recipient(client, {})?.used).toBe(i + 1)
    await told(both)
    expect(await held('ip_recipients', client.source)).toBe(5)
    // B learns with what it says itself.
    expect(b.limits.recipient(client, {})?.used).toBe(1)
    await told(both)
    expect(b.limits.recipient(client, {})).toEqual({ ...per(10), used: 7 })
    expect(b.limits.recipient(client, {})).toEqual({ ...per(10), used: 8 })
    // Half of the four that were left is the share of A.
    const { used = 0, max = 0 } = b.limits.recipient(client, {}) ?? {}
    expect(used).toBeGreaterThan(max)
  })

  test('what other nodes counted keeps nobody out for longer than two windows', async () => {
    const both = await nodes(2, { ip_recipients: per(10, 1000), unknown_recipients: per(10, 1000) })
    const [a, b] = both
    await earlyInWindow(1000, 900)
    const client = freshClient()
    for (let i = 0; i < 5; i++) a.limits.recipient(client, {})
    for (let i = 0; i < 9; i++) a.limits.heard(client, `u${i}@example.net`, true)
    await told(both)
    for (let i = 0; i < 5; i++) b.limits.recipient(client, {})
    for (let i = 0; i < 2; i++) b.limits.heard(client, `x${i}@example.net`, true)
    await told(both)
    const { used = 0, max = 0 } = b.limits.recipient(client, {}) ?? {}
    expect(used).toBeGreaterThan(max)
    const begin = performance.now()
    await eventually(
      () => b.limits.lately(client),
      (recent) => recent?.unknown.used === 0 && recent.asked === 0,
    )
    expect(performance.now() - begin).toBeLessThan(2100)
    expect(b.limits.recipient(client, {})?.used).toBe(1)
  })

  test('what the cluster said is not held against the share of a node without Redis', async () => {
    const [a, b] = await nodes(2, { unknown_recipients: per(20) })
    const client = freshClient()
    for (let i = 0; i < 12; i++) a.limits.heard(client, `u${i}@example.net`, true)
    await a.told()
    for (let i = 0; i < 2; i++) b.limits.heard(client, `x${i}@example.net`, true)
    await b.told()
    await eventually(
      () => [b.limits.lately(client)?.unknown.used, b.limits.nodes()].join(),
      (both) => both === '14,2',
    )
    b.link.client.disconnect()
    await eventually(
      () => b.limits.shared(),
      (isShared) => !isShared,
    )
    expect(b.limits.lately(client)?.unknown).toEqual({ ...per(20), used: 14 })
    const other = freshClient()
    for (let i = 0; i < 11; i++) b.limits.heard(other, `u${i}@example.net`, true)
    expect(b.limits.lately(other)?.unknown).toEqual({ ...per(10), used: 11 })
  })

  test('of a message that is refused anyway are not counted; of one that is only observed they are', async () => {
    const enforced = (limit: LimitName): boolean => limit !== 'ip_messages'
    const [node] = await nodes(1, { ip_recipients: per(10) }, { enforced })
    const client = freshClient()
    const over = { ...per(1), used: 2 }
    expect(node.limits.recipient(client, { global_messages: over })).toBeUndefined()
    expect(node.limits.recipient(client, { ip_messages: over })?.used).toBe(1)
  })

  test('that the cluster does not know, and all it was asked for', async () => {
    const both = await nodes(2, { unknown_recipients: per(20) })
    const [a, b] = both
    const client = freshClient()
    for (let i = 0; i < 60; i++) a.limits.heard(client, `u${i}@example.net`, i % 3 === 0)
    await told(both)
    expect(await held('asked_recipients', client.source)).toBe(60)
    for (let i = 0; i < 2; i++) b.limits.heard(client, `x${i}@example.net`, true)
    await told(both)
    expect(b.limits.lately(client)).toMatchObject({ unknown: { used: 22 }, asked: 62 })
  })

  test('of a network, whose addresses come to different nodes', async () => {
    const both = await nodes(2, { net_unknown_recipients: per(20) })
    const [a, b] = both
    const client = freshClient()
    for (const [at, node] of [a, b].entries()) {
      for (let i = 0; i < 20; i++) {
        const neighbour = { ...client, source: `${client.source}.${i % 5}` }
        node.limits.heard(neighbour, `u${at}.${i}@example.net`, i < 12)
      }
      await told(both)
    }
    expect(b.limits.lately(client, 'net_unknown_recipients')).toMatchObject({ unknown: { used: 24 }, asked: 40 })
  })

  test('of a client that asks for nobody unknown are told to nobody', async () => {
    const [node] = await nodes(1, { unknown_recipients: per(20) })
    const client = freshClient()
    for (let i = 0; i < 200; i++) node.limits.heard(client, `u${i}@example.net`, false)
    await node.told()
    expect(await redis.call('exists', key('asked_recipients', client.source))).toBe('0')
  })
})

describe('the window', () => {
  const counterOf = (node: TestNode, windowMs: number, name = 'me') =>
    createSharedCounter({ client: node.link.client, prefix: 'test:', name: 'bound', windowMs, node: name })

  test('slides: no more than the limit in an aligned one, less than twice in any span', async () => {
    const max = 50
    const [node] = await nodes(1, { global_connections: per(max, 1000) })
    await earlyInWindow(1000, 1000)
    const admitted: number[] = []
    // Saves the whole limit for the last moment of a window, which is the worst there is, then tries all the time.
    const begin = Math.floor(Date.now() / 1000) * 1000
    await new Promise((resolve) => setTimeout(resolve, begin + 850 - Date.now()))
    while (Date.now() < begin + 3000) {
      // More than would be enough: a busy machine has few turns in what is left of the window.
      for (let i = 0; i < 20; i++) if (node.tries(freshClient())) admitted.push(Date.now())
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    const within = (from: number, ms: number): number => admitted.filter((at) => at >= from && at < from + ms).length
    expect(within(begin, 1000)).toBe(max)
    // Two windows that begin again from nothing would have let twice 50 through around the second second.
    expect(within(begin + 850, 300)).toBeLessThanOrEqual(max * 1.2)
    for (const at of admitted) expect(within(at, 1000)).toBeLessThan(2 * max)
    expect(admitted.length).toBeGreaterThan(max * 1.5)
  })

  test('an answer says what is counted, in this window and the one before, and what is left of it', async () => {
    const [node] = await nodes(1, {})
    const counter = counterOf(node, WINDOW)
    const { leftMs, ...counts } = await counter.add('a', 7, 1)
    expect(counts).toEqual({ current: 7, previous: 0 })
    expect(leftMs).toBeLessThanOrEqual(WINDOW - (Date.now() % WINDOW) + 50)
    await redis.call('hset', key('bound', 'a'), 'w', String(Math.floor(Date.now() / WINDOW) - 1))
    expect(await counter.add('a', 2, 2)).toMatchObject({ current: 2, previous: 7 })
    // As much as is ever counted.
    expect(await counter.add('a', 1e9, 3)).toMatchObject({ current: 2 ** 26 - 1, previous: 7 })
  })

  test('an amount that a node repeats counts once; that of another node is another', async () => {
    const [node] = await nodes(1, {})
    const [me, other] = [counterOf(node, WINDOW), counterOf(node, WINDOW, 'other')]
    expect(await me.add('b', 5, 3)).toMatchObject({ current: 5 })
    expect(await me.add('b', 5, 3)).toMatchObject({ current: 5 })
    expect(await other.add('b', 5, 3)).toMatchObject({ current: 10 })
    expect(await me.add('b', 1, 4)).toMatchObject({ current: 11 })
    // Late, from a connection that hung.
    expect(await me.add('b', 5, 3)).toMatchObject({ current: 11 })
  })

  test('what is taken back is not less than nothing', async () => {
    const [node] = await nodes(1, {})
    const counter = counterOf(node, WINDOW)
    expect(await counter.add('c', -3, 1)).toMatchObject({ current: 0 })
    expect(await counter.add('c', 9, 2)).toMatchObject({ current: 9 })
    await redis.call('hset', key('bound', 'c'), 'w', String(Math.floor(Date.now() / WINDOW) - 1))
    expect(await counter.add('c', 2, 3)).toMatchObject({ current: 2, previous: 9 })
    expect(await counter.add('c', -6, 4)).toMatchObject({ current: 0, previous: 5 })
  })

  test('to ask adds nothing, and makes no key', async () => {
    const [node] = await nodes(1, {})
    expect(await counterOf(node, WINDOW).add('d', 0, 1)).toMatchObject({ current: 0, previous: 0 })
    expect(await redis.call('exists', key('bound', 'd'))).toBe('0')
  })

  test('two limits of one client are two limits', async () => {
    const [node] = await nodes(1, { ip_connections: per(3), ip_messages: per(7) })
    const client = freshClient()
    const admitted = { connect: 0, rcpt: 0 }
    for (const stage of ['connect', 'rcpt'] as const) {
      for (let i = 0; i < 10; i++) if (node.tries(client, stage)) admitted[stage]++
    }
    expect(admitted).toEqual({ connect: 3, rcpt: 7 })
  })
})

test('nodes see each other, and see who has left', async () => {
  const [a, b] = await nodes(2, {})
  await eventually(
    () => a.limits.nodes(),
    (count) => count === 2,
  )
  await eventually(
    () => b.limits.nodes(),
    (count) => count === 2,
  )
  await b.stop()
  await eventually(
    () => a.limits.nodes(),
    (count) => count === 1,
  )
})

test('the use of a global limit is that of the cluster', async () => {
  const both = await nodes(2, { global_connections: per(20) })
  const [a, b] = both
  for (let i = 0; i < 9; i++) b.tries(freshClient())
  await told(both)
  a.tries(freshClient())
  await told(both)
  expect(a.limits.utilization('global_connections')).toBeCloseTo(0.5)
  expect(a.limits.utilization('global_messages')).toBe(0)
})
