/** Redis that hangs, dies and comes back while clients keep coming: nobody waits, the limits hold, and it hears what it missed. */
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Client } from '../../src/core/client.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { clientAt, earlyInWindow, freshClient, startNode, type TestNode, WINDOW } from './shared-nodes.ts'

/** How long the machine that runs the tests may hold up this process; far less than the second for which Redis hangs. */
const SLACK_MS = 100

let redis: RedisServer
let url: string
const running: TestNode[] = []
beforeEach(async () => {
  redis = await startRedis()
  url = `redis://127.0.0.1:${redis.port}`
  await earlyInWindow(WINDOW, 8000)
})
afterEach(async () => {
  redis.thaw()
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.stop()
})
const start = async (...args: Parameters<typeof startNode>): Promise<TestNode> => {
  const node = await startNode(...args)
  running.push(node)
  return node
}
const per = (max: number) => ({ max, windowMs: WINDOW })
const value = (node: TestNode, gauge: 'redisUp' | 'redisFallback'): number => node.metrics[gauge].of().value
const shares = async (node: TestNode, isShared: boolean, ms = 5000): Promise<void> =>
  void (await eventually(
    () => node.limits.shared(),
    (shared) => shared === isShared,
    ms,
  ))
const away = (node: TestNode): Promise<void> => shares(node, false)
const back = (node: TestNode): Promise<void> => shares(node, true)
const seen = (node: TestNode, count: number): Promise<number> =>
  eventually(
    () => node.limits.nodes(),
    (nodes) => nodes === count,
  )
const held = async (limit: string, of = '*'): Promise<number> =>
  Number(await redis.call('hget', `test:l:${limit}:${of}`, 'c'))
const letsIn = (node: TestNode, tries: number, client?: Client): number => {
  let count = 0
  for (let i = 0; i < tries; i++) if (node.tries(client ?? freshClient())) count++
  return count
}

/** 500 clients a second for `ms`; how long `take` took for each, in ms. */
async function flood(node: TestNode, ms: number): Promise<{ took: number[]; admitted: number }> {
  const took: number[] = []
  let admitted = 0
  const begin = performance.now()
  for (let i = 0; performance.now() - begin < ms; i++) {
    const started = performance.now()
    if (node.tries(freshClient())) admitted++
    took.push(performance.now() - started)
    const next = begin + (i + 1) * 2
    if (next > performance.now()) await new Promise((resolve) => setTimeout(resolve, next - performance.now()))
  }
  return { took: took.sort((a, b) => a - b), admitted }
}
const median = (sorted: readonly number[]): number => sorted[sorted.length >> 1] as number

describe('frozen', () => {
  test('under a flood every client is answered at once; then Redis is used again, and hears of each once', async () => {
    const node = await start(url, { rates: { ip_connections: per(100), global_connections: per(100_000) } })
    const before = await flood(node, 300)
    expect(value(node, 'redisUp')).toBe(1)
    redis.freeze()
    const meanwhile = await flood(node, 1000)
    expect(median(meanwhile.took)).toBeLessThan(1)
    expect(meanwhile.took.at(-1)).toBeLessThanOrEqual(SLACK_MS)
    expect(meanwhile.admitted).toBe(meanwhile.took.length)
    expect([value(node, 'redisUp'), value(node, 'redisFallback')]).toEqual([0, 1])
    redis.thaw()
    await back(node)
    expect([value(node, 'redisUp'), value(node, 'redisFallback')]).toEqual([1, 0])
    const after = await flood(node, 100)
    await node.told()
    expect(await held('global_connections')).toBe(before.admitted + meanwhile.admitted + after.admitted)
    const changes = node.log.filter((line) => /^(info|warn): Redis /.test(line))
    expect(changes.map((line) => line.split(' ').slice(0, 4).join(' '))).toEqual([
      'info: Redis answers: limits',
      'warn: Redis does not',
      'info: Redis answers: limits',
    ])
  })

  test('one node holds to its limit all the same', async () => {
    const node = await start(url, { rates: { global_connections: per(200) } })
    const before = await flood(node, 200)
    redis.freeze()
    const meanwhile = await flood(node, 600)
    redis.thaw()
    await back(node)
    const after = await flood(node, 300)
    expect(before.admitted).toBeGreaterThan(30)
    expect(before.admitted + meanwhile.admitted + after.admitted).toBe(200)
    await node.told()
    expect(await held('global_connections')).toBe(200)
  })

  test('for no longer than it takes to notice: the connection outlives it, and what is carried out twice counts once', async () => {
    // A connection is given up after four times as long; Redis counts as away after three times.
    const node = await start(url, { rates: { global_connections: per(1000) }, timeoutMs: 300 })
    let admitted = letsIn(node, 5)
    await node.told()
    let closed = 0
    node.link.client.on('close', () => closed++)
    for (let times = 1; times <= 2; times++) {
      redis.freeze()
      admitted += letsIn(node, 7)
      // By then what was told of them has been sent three times.
      await away(node)
      admitted += letsIn(node, 4)
      redis.thaw()
      await back(node)
      admitted += letsIn(node, 2)
      await node.told()
      expect([times, await held('global_connections')]).toEqual([times, admitted])
    }
    expect(closed).toBe(0)
  })
})

/** Stands between a node and Redis; while it is mute, what Redis answers is lost. */
async function startForwarder(port: number) {
  const sockets = new Set<Socket>()
  let mute = false
  let lost = 0
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    const end = (): void => {
      for (const socket of [client, upstream]) {
        socket.destroy()
        sockets.delete(socket)
      }
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined).on('close', end)
    }
    client.on('data', (chunk) => upstream.write(chunk))
    upstream.on('data', (chunk) => {
      if (mute) lost += chunk.length
      else client.write(chunk)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `redis://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    lostBytes: () => lost,
    mute() {
      mute = true
    },
    /** On new connections: on the old ones an answer would be taken for that to another command. */
    speak() {
      mute = false
      for (const socket of sockets) socket.destroy()
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

describe('carried out, and the answer is lost', () => {
  test.each([
    ['before the answer is overdue', 2000, false],
    ['when Redis counts as away', 150, true],
  ])('the connection breaks %s: it is told again, and counted once', async (_, timeoutMs, isAway) => {
    const forwarder = await startForwarder(redis.port)
    const rates = { ip_connections: per(100), global_connections: per(1000) }
    const node = await startNode(forwarder.url, { rates, timeoutMs })
    try {
      const client = clientAt('192.0.2.1')
      const counts = () => Promise.all([held('ip_connections', client.source), held('global_connections')])
      let admitted = letsIn(node, 20, client)
      await node.told()
      expect(await counts()).toEqual([20, 20])
      // What is told now is told at once.
      await back(node)
      // What is told goes out behind an announcement, if one waits for its answer. After one there is none for two seconds.
      const announced = node.metrics.redisCommands.of('nodes', 'ok')
      const before = announced.value
      await eventually(
        () => announced.value,
        (count) => count > before,
      )
      forwarder.mute()
      admitted += letsIn(node, 15, client)
      await eventually(counts, ([one, all]) => one === 35 && all === 35)
      await eventually(forwarder.lostBytes, (bytes) => bytes > 0)
      if (isAway) await away(node)
      // They wait until it is known what has become of those before them.
      admitted += letsIn(node, 3, client)
      expect(await counts()).toEqual([35, 35])
      forwarder.speak()
      await back(node)
      await node.told()
      expect(admitted).toBe(38)
      expect(await counts()).toEqual([38, 38])
      // And this node has heard so.
      expect(node.limits.take('connect', client).ip_connections).toMatchObject({ used: 39, max: 100 })
    } finally {
      await node.stop()
      await forwarder.stop()
    }
  })
})

describe('killed', () => {
  test('under a flood nobody waits, and within 5 s after it is back it has heard of everyone since', async () => {
    const node = await start(url, { rates: { ip_connections: per(100), global_connections: per(100_000) } })
    const before = await flood(node, 200)
    await node.told()
    expect(await held('global_connections')).toBe(before.admitted)
    const killed = redis.kill()
    const { took, admitted } = await flood(node, 1000)
    await killed
    expect(median(took)).toBeLessThan(1)
    expect(took.at(-1)).toBeLessThanOrEqual(SLACK_MS)
    expect(admitted).toBe(took.length)
    expect(node.limits.shared()).toBe(false)
    await redis.restart()
    await back(node)
    // No client has come meanwhile who would make it be told.
    await node.told()
    expect(await held('global_connections')).toBe(admitted)
    expect(node.tries(freshClient())).toBe(true)
    await node.told()
    expect(await held('global_connections')).toBe(admitted + 1)
  })

  test('each node then has its share, and Redis hears afterwards what it let in', async () => {
    const nodes = await Promise.all(
      [1, 2, 3].map(() => start(url, { rates: { ip_connections: per(30), global_connections: per(90) } })),
    )
    for (const node of nodes) await seen(node, 3)
    await redis.kill()
    for (const node of nodes) await away(node)
    const [first] = nodes as [TestNode]
    const client = clientAt('192.0.2.1')
    let admitted = letsIn(first, 30, client)
    expect(admitted).toBe(10)
    const last = first.limits.take('connect', client)
    expect(last.ip_connections).toMatchObject({ max: 10, windowMs: WINDOW })
    for (const node of nodes) admitted += letsIn(node, 60)
    expect(admitted).toBe(90)
    await redis.restart()
    for (const node of nodes) await back(node)
    for (const node of nodes) await node.told()
    expect(await held('global_connections')).toBe(90)
    expect(await held('ip_connections', client.source)).toBe(10)
    // Each knows what the others had told when it was answered. So one more for each other node.
    for (const node of nodes) {
      if (node.tries(freshClient())) admitted++
      await node.told()
    }
    expect(admitted).toBeLessThanOrEqual(92)
    expect(nodes.map((node) => node.tries(freshClient()))).toEqual([false, false, false])
    expect(await held('global_connections')).toBe(admitted)
  })

  test('a limit of fewer than there are nodes still lets one in', async () => {
    const nodes = await Promise.all([1, 2, 3].map(() => start(url, { rates: { ip_connections: per(2) } })))
    const [first] = nodes as [TestNode]
    await seen(first, 3)
    await redis.kill()
    await away(first)
    const client = freshClient()
    expect([first.tries(client), first.tries(client)]).toEqual([true, false])
  })
})

test('three nodes, one killed and one cut off: never more than 1.5 times the limit', async () => {
  const nodes = await Promise.all([1, 2, 3].map(() => start(url, { rates: { global_connections: per(90) } })))
  const [first, killed, cut] = nodes as [TestNode, TestNode, TestNode]
  await seen(cut, 3)
  await seen(first, 3)
  let admitted = 0
  for (const node of nodes) {
    admitted += letsIn(node, 5)
    await node.told()
  }
  expect(admitted).toBe(15)
  // A node that is killed says no goodbye.
  killed.link.client.disconnect()
  cut.link.client.disconnect()
  await away(cut)
  for (let i = 0; i < 200; i++) {
    admitted += letsIn(cut, 1)
    if (!first.tries(freshClient())) continue
    admitted++
    await first.told()
  }
  // The limit, by the count of Redis; and a third of the 75 that were left when the one that is cut off last heard of it.
  expect(admitted).toBe(90 + 25)
})

test('away at the start: the node serves by itself, and takes Redis in when it comes', async () => {
  await redis.kill()
  const begin = performance.now()
  const node = await start(url, { rates: { ip_connections: per(3) } })
  expect(performance.now() - begin).toBeLessThan(1500)
  expect([value(node, 'redisUp'), value(node, 'redisFallback')]).toEqual([0, 1])
  const client = freshClient()
  const tries: boolean[] = []
  for (let i = 0; i < 4; i++) tries.push(node.tries(client))
  expect(tries).toEqual([true, true, true, false])
  await redis.restart()
  await back(node)
  await node.told()
  expect(await held('ip_connections', client.source)).toBe(3)
  // One line for the reason, however many attempts there were.
  expect(node.log.filter((line) => line.includes('connection to Redis failed'))).toHaveLength(1)
})

test('full, it counts as away also where a limit for everybody could still be read, and is used again when it is not', async () => {
  const node = await start(url, { rates: { ip_connections: per(3), global_messages: per(100) } })
  node.tries(freshClient(), 'rcpt')
  await node.told()
  await redis.call('config', 'set', 'maxmemory', '1')
  node.tries(freshClient())
  await eventually(
    () => node.limits.shared(),
    (shared) => !shared,
    3000,
  )
  await redis.call('config', 'set', 'maxmemory', '0')
  await back(node)
  await node.told()
})

test('full, it takes no more writes and counts as away', async () => {
  const node = await start(url, { rates: { ip_connections: per(3) } })
  await redis.call('config', 'set', 'maxmemory', '1')
  const client = freshClient()
  expect(node.tries(client)).toBe(true)
  // It is told again at once, and three errors are enough.
  await shares(node, false, 2000)
  await redis.call('config', 'set', 'maxmemory', '0')
  await back(node)
  await node.told()
  expect(await held('ip_connections', client.source)).toBe(1)
})

test('a script that Redis has forgotten is sent again', async () => {
  const node = await start(url, { rates: { ip_connections: per(3) }, timeoutMs: 1000 })
  node.tries(freshClient())
  await node.told()
  await redis.call('script', 'flush')
  expect(node.tries(freshClient())).toBe(true)
  await node.told()
  expect(node.metrics.redisCommands.of('add', 'ok').value).toBe(2)
  expect(node.metrics.redisCommands.of('add', 'failed').value).toBe(0)
})
