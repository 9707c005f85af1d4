/** Redis that hangs, dies and comes back while clients keep coming: nobody waits, the limits hold, and it is used again. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { clientAt, earlyInWindow, freshClient, startNode, type TestNode, WINDOW } from './shared-nodes.ts'

const TIMEOUT_MS = 50
/** What the machine that runs the tests may add. */
const SLACK_MS = 50

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
const back = async (node: TestNode, ms = 5000): Promise<void> =>
  void (await eventually(
    () => node.limits.shared(),
    (shared) => shared,
    ms,
  ))

/** 500 clients a second for `ms`; how long each waited for its answer, in ms. */
async function flood(node: TestNode, ms: number): Promise<{ waits: number[]; admitted: number; late: number }> {
  const all: Promise<void>[] = []
  const waits: number[] = []
  let admitted = 0
  // How long this process did not come to its turn: that long an answer may have lain there as well.
  let late = 0
  const begin = performance.now()
  for (let i = 0; performance.now() - begin < ms; i++) {
    const started = performance.now()
    all.push(
      node.tries(freshClient()).then((isIn) => {
        waits.push(performance.now() - started)
        if (isIn) admitted++
      }),
    )
    const next = begin + (i + 1) * 2
    if (next > performance.now()) {
      await new Promise((resolve) => setTimeout(resolve, next - performance.now()))
      late = Math.max(late, performance.now() - next)
    }
  }
  await Promise.all(all)
  return { waits, admitted, late }
}

describe('frozen', () => {
  test('under a flood every client is answered in time, and soon at once; then Redis is used again', async () => {
    const node = await start(url, { rates: { ip_connections: per(100) } })
    await flood(node, 300)
    expect(value(node, 'redisUp')).toBe(1)
    redis.freeze()
    const { waits, late } = await flood(node, 1000)
    expect(Math.max(...waits)).toBeLessThanOrEqual(TIMEOUT_MS + SLACK_MS + late)
    const waited = waits.filter((ms) => ms > 10)
    expect(waited.length).toBeGreaterThan(0)
    expect(waited.length).toBeLessThan(100)
    expect(node.limits.take('connect', freshClient())).not.toBeInstanceOf(Promise)
    expect([value(node, 'redisUp'), value(node, 'redisFallback')]).toEqual([0, 1])
    redis.thaw()
    await back(node)
    expect([value(node, 'redisUp'), value(node, 'redisFallback')]).toEqual([1, 0])
    expect(node.limits.take('connect', freshClient())).toBeInstanceOf(Promise)
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
    const sum = before.admitted + meanwhile.admitted + after.admitted
    expect(before.admitted).toBeGreaterThan(30)
    expect(sum).toBeGreaterThanOrEqual(160)
    expect(sum).toBeLessThanOrEqual(240)
  })
})

describe('killed', () => {
  test('under a flood nobody waits, and it is used again within 5 s after it is back', async () => {
    const node = await start(url, { rates: { ip_connections: per(100) } })
    const flooding = flood(node, 1200)
    await eventually(
      () => node.metrics.redisCommands.of('take', 'ok').value,
      (count) => count > 50,
    )
    await redis.kill()
    const { waits, late } = await flooding
    expect(Math.max(...waits)).toBeLessThanOrEqual(TIMEOUT_MS + SLACK_MS + late)
    expect(node.limits.shared()).toBe(false)
    await redis.restart()
    await back(node)
    expect(node.limits.take('connect', freshClient())).toBeInstanceOf(Promise)
  })

  test('each node then has its share, and Redis hears afterwards what it let in', async () => {
    const nodes = await Promise.all(
      [1, 2, 3].map(() => start(url, { rates: { ip_connections: per(30), global_connections: per(90) } })),
    )
    for (const node of nodes) {
      await eventually(
        () => node.limits.nodes(),
        (count) => count === 3,
      )
    }
    await redis.kill()
    await eventually(
      () => nodes.some((node) => node.limits.shared()),
      (shared) => !shared,
    )
    const [first] = nodes as [TestNode]
    const client = clientAt('192.0.2.1')
    let admitted = 0
    for (let i = 0; i < 30; i++) if (await first.tries(client)) admitted++
    expect(admitted).toBe(10)
    const last = await first.limits.take('connect', client)
    expect(last.ip_connections).toMatchObject({ max: 10, windowMs: WINDOW })
    for (const node of nodes) {
      for (let i = 0; i < 60; i++) if (await node.tries(freshClient())) admitted++
    }
    expect(admitted).toBe(90)
    await redis.restart()
    for (const node of nodes) await back(node)
    await eventually(
      () => redis.call('hget', 'test:l:global_connections:*', 'c'),
      (count) => count === '90',
    )
    expect(await first.tries(freshClient())).toBe(false)
  })

  test('a limit of fewer than there are nodes still lets one in', async () => {
    const nodes = await Promise.all([1, 2, 3].map(() => start(url, { rates: { ip_connections: per(2) } })))
    const [first] = nodes as [TestNode]
    await eventually(
      () => first.limits.nodes(),
      (count) => count === 3,
    )
    await redis.kill()
    await eventually(
      () => first.limits.shared(),
      (shared) => !shared,
    )
    const client = freshClient()
    expect([await first.tries(client), await first.tries(client)]).toEqual([true, false])
  })
})

test('three nodes, one killed and one cut off: never more than 1.5 times the limit', async () => {
  const nodes = await Promise.all([1, 2, 3].map(() => start(url, { rates: { global_connections: per(90) } })))
  const [first, killed, cut] = nodes as [TestNode, TestNode, TestNode]
  await eventually(
    () => cut.limits.nodes(),
    (count) => count === 3,
  )
  let admitted = 0
  for (const node of nodes) for (let i = 0; i < 5; i++) if (await node.tries(freshClient())) admitted++
  // A node that is killed says no goodbye.
  killed.link.client.disconnect()
  cut.link.client.disconnect()
  await eventually(
    () => cut.limits.shared(),
    (shared) => !shared,
  )
  for (let i = 0; i < 200; i++) for (const node of [first, cut]) if (await node.tries(freshClient())) admitted++
  expect(admitted).toBeGreaterThanOrEqual(90)
  expect(admitted).toBeLessThanOrEqual(135)
})

test('away at the start: the node serves by itself, and takes Redis in when it comes', async () => {
  await redis.kill()
  const begin = performance.now()
  const node = await start(url, { rates: { ip_connections: per(3) } })
  expect(performance.now() - begin).toBeLessThan(1500)
  expect([value(node, 'redisUp'), value(node, 'redisFallback')]).toEqual([0, 1])
  const client = freshClient()
  const tries: boolean[] = []
  for (let i = 0; i < 4; i++) tries.push(await node.tries(client))
  expect(tries).toEqual([true, true, true, false])
  await redis.restart()
  await back(node)
  // One line for the reason, however many attempts there were.
  expect(node.log.filter((line) => line.includes('connection to Redis failed'))).toHaveLength(1)
})

test('full, it takes no more writes and counts as away', async () => {
  const node = await start(url, { rates: { ip_connections: per(3) } })
  await redis.call('config', 'set', 'maxmemory', '1')
  // Errors come at once, and those of one moment are one failure.
  await eventually(
    async () => {
      await node.tries(freshClient())
      return node.limits.shared()
    },
    (shared) => !shared,
    2000,
  )
  await redis.call('config', 'set', 'maxmemory', '0')
  await back(node)
})

test('a script that Redis has forgotten is sent again', async () => {
  const node = await start(url, { rates: { ip_connections: per(3) }, timeoutMs: 1000 })
  await node.tries(freshClient())
  await redis.call('script', 'flush')
  expect(await node.tries(freshClient())).toBe(true)
  expect(node.metrics.redisCommands.of('take', 'ok').value).toBe(2)
  expect(node.metrics.redisCommands.of('take', 'failed').value).toBe(0)
})
