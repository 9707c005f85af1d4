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
  letIn,
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
  return all as [TestNode, TestNode, ...TestNode[]]
}

const per = (max: number, windowMs = WINDOW): Rate => ({ max, windowMs })
const key = (limit: string, of: string): string => `test:l:${limit}:${of}`
/** Counts in this window and in the one before. */
async function held(limit: string, of: string): Promise<number> {
  const told = await redis.call('hmget', key(limit, of), 'c', 'p')
  return told.split('\n').reduce((sum, each) => sum + Number(each), 0)
}

describe('one limit over two nodes', () => {
  test('200/1m, 2,000 tries of as many clients: 200 are let in', async () => {
    await earlyInWindow(60_000, 3000)
    const both = await nodes(2, { global_connections: per(200, 60_000) })
    let admitted = 0
    for (let round = 0; round < 40; round++) {
      const tries = Array.from({ length: 50 }, (_, i) => both[i % 2]?.tries(freshClient()))
      admitted += (await Promise.all(tries)).filter(Boolean).length
    }
    expect(admitted).toBeGreaterThanOrEqual(190)
    expect(admitted).toBeLessThanOrEqual(200)
    expect(await held('global_connections', '*')).toBe(admitted)
  })

  test('one address on both is one address', async () => {
    const both = await nodes(2, { ip_connections: per(20) })
    const client = freshClient()
    let admitted = 0
    for (let i = 0; i < 100; i++) if (await both[i % 2]?.tries(client)) admitted++
    expect(admitted).toBe(20)
    expect(await both[0].tries(freshClient())).toBe(true)
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
      const usage = await node.limits.take('connect', client)
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
      for (let i = 0; i < tries; i++) for (const node of [a, b]) if (await node.tries(client)) count++
      return count
    }
    expect(await admitted(10)).toBe(10)
    max = 14
    expect(await admitted(10)).toBe(4)
    expect((await a.limits.take('connect', client)).ip_connections).toMatchObject({ max: 14 })
    max = 4
    expect(await admitted(5)).toBe(0)
    max = 16
    expect(await admitted(10)).toBe(2)
  })

  test('nor does that of one client stand in for that of another, at the same moment', async () => {
    const maximum: Maximum = (limit, { ip }) => (limit === 'ip_connections' ? 100 : ip.endsWith('.1') ? 20 : 30)
    const [node] = await nodes(1, { ip_connections: per(100), net_connections: per(30) }, { maximum })
    const tries = (ip: string): Promise<boolean>[] => Array.from({ length: 40 }, () => node.tries(clientAt(ip)))
    const [first, second] = [tries('192.0.2.1'), tries('192.0.2.2')]
    expect((await Promise.all(first)).filter(Boolean)).toHaveLength(20)
    expect((await Promise.all(second)).filter(Boolean)).toHaveLength(10)
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
    // B spends the address's limit; A does not know, asks, and gives back what the wider ones were charged.
    for (let i = 0; i < 10; i++) await b.tries(client)
    const usage = await a.limits.take('connect', client)
    expect(usage.ip_connections).toEqual({ used: 11, max: 10, windowMs: WINDOW })
    expect(usage).not.toHaveProperty('net_connections')
    expect(usage).not.toHaveProperty('global_connections')
    for (let i = 0; i < 50; i++) await a.tries(client)
    await eventually(
      () => held('global_connections', '*'),
      (count) => count === 10,
    )
    expect(await held('net_connections', client.net)).toBe(10)
    expect(await held('ip_connections', client.source)).toBe(10)
  })

  test('what a wide limit refuses is given back to the narrow ones', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(10), global_connections: per(5) })
    for (let i = 0; i < 5; i++) expect(await b.tries(freshClient())).toBe(true)
    const client = freshClient()
    expect((await a.limits.take('connect', client)).global_connections).toEqual({ used: 6, max: 5, windowMs: WINDOW })
    await eventually(
      () => redis.call('exists', key('ip_connections', client.source)),
      (there) => there === '0',
    )
    expect(await held('global_connections', '*')).toBe(5)
  })

  test('what a limit that only observes is over and a wider one refuses is given back once', async () => {
    const enforced = (limit: LimitName): boolean => limit !== 'ip_connections'
    const [a, b] = await nodes(2, { ip_connections: per(3), global_connections: per(5) }, { enforced })
    const client = freshClient()
    for (let i = 0; i < 2; i++) expect(await a.tries(client)).toBe(true)
    expect(await b.tries(client)).toBe(true)
    for (let i = 0; i < 2; i++) expect(await b.tries(freshClient())).toBe(true)
    const usage = await a.limits.take('connect', client)
    expect(usage).toMatchObject({ ip_connections: { used: 4 }, global_connections: { used: 6 } })
    a.link.client.disconnect()
    await eventually(
      () => a.limits.shared(),
      (isShared) => !isShared,
    )
    // By its own count: two that it has let in, and this one, over its share.
    expect((await a.limits.take('connect', client)).ip_connections?.used).toBe(3)
  })

  test('only the part that is asked for is charged', async () => {
    const [node] = await nodes(1, { ip_messages: per(10), global_messages: per(10) })
    const client = freshClient()
    expect(Object.keys(await node.limits.take('rcpt', client, 'everybody'))).toEqual(['global_messages'])
    expect(Object.keys(await node.limits.take('rcpt', client, 'sender'))).toEqual(['ip_messages'])
    expect(await held('global_messages', '*')).toBe(1)
    expect(await held('ip_messages', client.source)).toBe(1)
  })

  test('nor does the node itself keep a count of what Redis has refused', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(2), global_connections: per(5) })
    for (let i = 0; i < 5; i++) await b.tries(freshClient())
    const client = freshClient()
    for (let i = 0; i < 4; i++) expect(await a.tries(client)).toBe(false)
    await redis.call('flushall')
    // The answer of Redis on a limit that many share is believed for a second.
    await eventually(
      () => a.tries(client),
      (isIn) => isIn,
    )
    expect([await a.tries(client), await a.tries(client)]).toEqual([true, false])
  })

  test('a flood of one address over its limit leaves the global one to the others', async () => {
    const both = await nodes(2, { ip_connections: per(10), global_connections: per(100) })
    const loud = freshClient()
    let others = 0
    for (let round = 0; round < 30; round++) {
      await Promise.all(Array.from({ length: 20 }, (_, i) => both[i % 2]?.tries(loud)))
      for (const node of both) if (await node.tries(freshClient())) others++
    }
    expect(others).toBe(60)
    expect(await held('ip_connections', loud.source)).toBe(10)
  })
})

describe('what it costs', () => {
  const scripts = async (): Promise<number> => {
    const { evalsha = 0, eval: evals = 0 } = await redis.commands()
    return evalsha + evals
  }

  test('an address over its limit at this node: no command', async () => {
    const [node] = await nodes(1, { ip_connections: per(10), net_connections: per(500), global_connections: per(1000) })
    const client = freshClient()
    for (let i = 0; i < 10; i++) expect(await node.tries(client)).toBe(true)
    await redis.call('config', 'resetstat')
    for (let i = 0; i < 1000; i++) {
      const usage = node.limits.take('connect', client)
      expect(usage).not.toBeInstanceOf(Promise)
      expect(letIn(await usage)).toBe(false)
    }
    // The announcement of a node, which comes every other second, is the only script there can be.
    expect(await scripts()).toBeLessThanOrEqual(1)
  })

  test('an address over its limit at another node: one question, then none', async () => {
    const [a, b] = await nodes(2, { ip_connections: per(10) })
    const client = freshClient()
    for (let i = 0; i < 10; i++) await b.tries(client)
    const { value: before } = a.metrics.redisCommands.of('take', 'ok')
    for (let i = 0; i < 200; i++) expect(await a.tries(client)).toBe(false)
    expect(a.metrics.redisCommands.of('take', 'ok').value - before).toBe(1)
  })

  test('new addresses that the global limit refuses: no question but one a second', async () => {
    const [node] = await nodes(1, { ip_connections: per(10), global_connections: per(5) })
    for (let i = 0; i < 5; i++) await node.tries(freshClient())
    for (let i = 0; i < 100; i++) expect(await node.tries(freshClient())).toBe(false)
    expect(node.metrics.redisCommands.of('take', 'ok').value).toBeLessThanOrEqual(10)
  })

  test('a connection is one write, whatever it is counted by; so are many of one moment', async () => {
    const [node] = await nodes(1, { ip_connections: per(10), net_connections: per(500), global_connections: per(1000) })
    const stream = (node.link.client as unknown as { stream: { write: (...args: unknown[]) => boolean } }).stream
    let writes = 0
    const write = stream.write.bind(stream)
    stream.write = (...args) => {
      writes++
      return write(...args)
    }
    await node.tries(freshClient())
    expect(writes).toBe(1)
    await Promise.all(Array.from({ length: 100 }, () => node.tries(freshClient())))
    expect(writes).toBe(2)
  })

  test('every key expires within two windows, and is small', async () => {
    const [node] = await nodes(1, { ip_connections: per(10, 10_000), global_connections: per(1000, 10_000) })
    const client = freshClient()
    await node.tries(client)
    const keys = (await redis.call('keys', '*')).split('\n')
    expect(keys.length).toBeGreaterThanOrEqual(3)
    for (const each of keys) {
      const left = Number(await redis.call('pttl', each))
      expect(left).toBeGreaterThan(0)
      expect(left).toBeLessThanOrEqual(20_000)
    }
    expect(Number(await redis.call('memory', 'usage', key('ip_connections', client.source)))).toBeLessThanOrEqual(160)
  })
})

describe('recipients', () => {
  test('of one address are counted over all nodes', async () => {
    const [a, b] = await nodes(2, { ip_recipients: per(10), ip_messages: per(100) })
    const client = freshClient()
    for (let i = 0; i < 6; i++) expect(a.limits.recipient(client, {})?.used).toBe(i + 1)
    await eventually(
      () => held('ip_recipients', client.source),
      (count) => count === 6,
    )
    // B learns with what it says itself.
    expect(b.limits.recipient(client, {})?.used).toBe(1)
    await eventually(
      () => held('ip_recipients', client.source),
      (count) => count === 7,
    )
    expect(b.limits.recipient(client, {})?.used).toBe(8)
    for (let i = 0; i < 2; i++) b.limits.recipient(client, {})
    expect(b.limits.recipient(client, {})?.used).toBeGreaterThan(10)
  })

  test('what other nodes counted keeps nobody out for longer than a window', async () => {
    let at = Math.floor(Date.now() / WINDOW) * WINDOW + 1000
    const [a, b] = await nodes(2, { ip_recipients: per(10), unknown_recipients: per(10) }, { now: () => at })
    const client = freshClient()
    for (let i = 0; i < 9; i++) a.limits.recipient(client, {})
    for (let i = 0; i < 9; i++) a.limits.heard(client, `u${i}@example.net`, true)
    for (const limit of ['ip_recipients', 'unknown_recipients', 'asked_recipients']) {
      await eventually(
        () => held(limit, client.source),
        (count) => count === 9,
      )
    }
    b.limits.recipient(client, {})
    b.limits.heard(client, 'x@example.net', true)
    await eventually(
      () => b.limits.lately(client),
      (lately) => lately?.unknown.used === 10 && lately.asked === 10,
    )
    // Refused by the word of the cluster, each time further over it.
    await eventually(
      () => b.limits.recipient(client, {})?.used ?? 0,
      (used) => used > 12,
    )
    at += WINDOW - 2000
    expect(b.limits.recipient(client, {})).toEqual({ ...per(10), used: 2 })
    expect(b.limits.lately(client)).toMatchObject({ unknown: { used: 1 }, asked: 1 })
  })

  test('what the cluster said is not held against the share of a node without Redis', async () => {
    const [a, b] = await nodes(2, { unknown_recipients: per(20) })
    const client = freshClient()
    for (let i = 0; i < 12; i++) a.limits.heard(client, `u${i}@example.net`, true)
    await eventually(
      () => held('unknown_recipients', client.source),
      (count) => count === 12,
    )
    b.limits.heard(client, 'x@example.net', true)
    await eventually(
      () => [b.limits.lately(client)?.unknown.used, b.limits.nodes()].join(),
      (both) => both === '13,2',
    )
    b.link.client.disconnect()
    await eventually(
      () => b.limits.shared(),
      (isShared) => !isShared,
    )
    expect(b.limits.lately(client)?.unknown).toEqual({ ...per(20), used: 13 })
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
    const [a, b] = await nodes(2, { unknown_recipients: per(20) })
    const client = freshClient()
    for (let i = 0; i < 60; i++) a.limits.heard(client, `u${i}@example.net`, i % 3 === 0)
    await eventually(
      () => held('asked_recipients', client.source),
      (count) => count === 60,
    )
    b.limits.heard(client, 'x@example.net', true)
    await eventually(
      () => b.limits.lately(client),
      (lately) => lately?.unknown.used === 21 && lately.asked === 61,
    )
  })

  test('go along with the next question', async () => {
    const [node] = await nodes(1, { ip_recipients: per(10), ip_messages: per(100) })
    const client = freshClient()
    await node.tries(client, 'rcpt')
    node.limits.recipient(client, {})
    await node.tries(client, 'rcpt')
    expect(await held('ip_recipients', client.source)).toBe(1)
  })
})

describe('the window', () => {
  const counter = (node: TestNode, { max, windowMs }: Rate) => {
    const all = createSharedCounter({ client: node.link.client, prefix: 'test:', name: 'bound', windowMs })
    return { ...all, charge: (key: string) => all.charge(key, max) }
  }

  test('slides: no more than the limit in an aligned one, less than twice in any span', async () => {
    const [node] = await nodes(1, {})
    const max = 50
    const bounded = counter(node, per(max, 1000))
    await earlyInWindow(1000, 1000)
    const admitted: number[] = []
    // Saves the whole limit for the last moment of a window, which is the worst there is, then tries all the time.
    const begin = Math.floor(Date.now() / 1000) * 1000
    await eventually(
      () => Date.now() - begin,
      (ms) => ms >= 850,
    )
    const attempt = async (): Promise<void> => {
      const { used } = await bounded.charge('a')
      if (used <= max) admitted.push(Date.now())
    }
    await Promise.all(Array.from({ length: max }, attempt))
    while (Date.now() < begin + 3000) await attempt()
    const within = (from: number, ms: number): number => admitted.filter((at) => at >= from && at < from + ms).length
    expect(within(begin, 1000)).toBe(max)
    // Two windows that begin again from nothing would have let twice 50 through around the second second.
    expect(within(begin + 850, 300)).toBeLessThanOrEqual(max * 1.2)
    for (const at of admitted) expect(within(at, 1000)).toBeLessThan(2 * max)
    expect(admitted.length).toBeGreaterThan(max * 1.5)
  })

  test('says when there is room again', async () => {
    const [node] = await nodes(1, {})
    const bounded = counter(node, per(4, 1000))
    await earlyInWindow(1000, 600)
    for (let i = 0; i < 4; i++) expect(await bounded.charge('b')).toEqual({ used: i + 1, waitMs: 0 })
    // Redis charges between `from` and `to`.
    const charge = async () => {
      const from = performance.now()
      const { used, waitMs } = await bounded.charge('b')
      return { used, waitMs, from, to: performance.now() }
    }
    const full = await charge()
    expect(full.used).toBe(5)
    let lastFull = full
    const room = await eventually(
      async () => {
        const now = await charge()
        if (now.used > 4) lastFull = now
        return now
      },
      ({ used }) => used <= 4,
    )
    expect(room.to).toBeGreaterThanOrEqual(full.from + full.waitMs - 5)
    expect(lastFull.from).toBeLessThanOrEqual(full.to + full.waitMs + 5)
  })

  test('what is taken back is not less than nothing', async () => {
    const [node] = await nodes(1, {})
    const bounded = counter(node, per(4))
    expect(await bounded.add('c', -3)).toEqual({ used: 0, waitMs: 0 })
    expect(await bounded.add('c', 9)).toEqual({ used: 9, waitMs: 0 })
    expect((await bounded.charge('c')).used).toBe(10)
    expect(await bounded.add('c', -6)).toEqual({ used: 3, waitMs: 0 })
    expect((await bounded.charge('c')).used).toBe(4)
  })

  test('two limits of one client are two limits', async () => {
    const [node] = await nodes(1, { ip_connections: per(3), ip_messages: per(7) })
    const client = freshClient()
    const admitted = { connect: 0, rcpt: 0 }
    for (const stage of ['connect', 'rcpt'] as const) {
      for (let i = 0; i < 10; i++) if (await node.tries(client, stage)) admitted[stage]++
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
  const [a, b] = await nodes(2, { global_connections: per(10) })
  for (let i = 0; i < 6; i++) await b.tries(freshClient())
  await a.tries(freshClient())
  expect(a.limits.utilization('global_connections')).toBeCloseTo(0.7)
  expect(a.limits.utilization('global_messages')).toBe(0)
})
