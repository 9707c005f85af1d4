/** Clocks that go back: of Redis, when it is set or a server that is behind takes over, and of the node itself. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { LimitName, Rate } from '../../src/core/limits.ts'
import { Refusals } from '../../src/state/refusals.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { earlyInWindow, freshClient, startNode, type TestNode, type TestNodeOptions } from './shared-nodes.ts'

const MINUTE = 60_000
let redis: RedisServer
const running: TestNode[] = []
beforeAll(async () => {
  redis = await startRedis()
})
beforeEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.call('flushall')
  await earlyInWindow(MINUTE, 8000)
})
afterAll(async () => {
  await Promise.all(running.map((each) => each.stop()))
  await redis.stop()
})

const per = (max: number, windowMs = MINUTE): Rate => ({ max, windowMs })
async function start(rates: Partial<Record<LimitName, Rate>>, more: TestNodeOptions = {}): Promise<TestNode> {
  const node = await startNode(`redis://127.0.0.1:${redis.port}`, { rates, timeoutMs: 2000, ...more })
  running.push(node)
  return node
}
const EVERYBODY = 'test:l:global_connections:*'
const windowNow = (): number => Math.floor(Date.now() / MINUTE)
/** As a server left it whose clock was so many windows ahead. */
const ahead = (windows: number, count: number): Promise<string> =>
  redis.call('hset', EVERYBODY, 'w', String(windowNow() + windows), 'c', String(count), 'p', '0')
const admitted = async (node: TestNode, tries: number): Promise<number> => {
  let count = 0
  for (let i = 0; i < tries; i++) if (await node.tries(freshClient())) count++
  return count
}

describe('of Redis', () => {
  test.each([
    ['2 windows', 2],
    ['an hour', 60],
    ['a year', 525_600],
    ['for ever', 999_999_999_999],
  ])('a count from further than one window ahead is none: %s', async (_, windows) => {
    const node = await start({ global_connections: per(20) })
    await ahead(windows, 20)
    expect(await admitted(node, 30)).toBe(20)
    expect(await redis.call('hget', EVERYBODY, 'w')).toBe(String(windowNow()))
    const left = Number(await redis.call('pttl', EVERYBODY))
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThanOrEqual(2 * MINUTE)
  })

  test('a step of no more than a window gives nothing away', async () => {
    const node = await start({ global_connections: per(20) })
    await ahead(1, 15)
    expect(await admitted(node, 30)).toBe(5)
  })

  test('dead nodes do not stay for as long as the step', async () => {
    const node = await start({})
    const hourAhead = String(Date.now() + 60 * MINUTE)
    for (const dead of ['a', 'b', 'c']) await redis.call('zadd', 'test:nodes', hourAhead, `${dead} x=off`)
    await eventually(
      () => redis.call('zcard', 'test:nodes'),
      (count) => count === '1',
    )
    expect(node.limits.nodes()).toBe(1)
    // Nor does the set itself.
    expect(Number(await redis.call('pttl', 'test:nodes'))).toBeLessThanOrEqual(6000)
  })
})

describe('of the node', () => {
  test('a client that Redis has refused is asked for again, and not for as long as the step later', async () => {
    let at = Date.now()
    const [a, b] = [await start({ ip_connections: per(3) }, { now: () => at }), await start({ ip_connections: per(3) })]
    const client = freshClient()
    for (let i = 0; i < 3; i++) expect(await b.tries(client)).toBe(true)
    expect(await a.tries(client)).toBe(false)
    await redis.call('flushall')
    expect(await a.tries(client)).toBe(false)
    at -= 60 * MINUTE
    expect(await a.tries(client)).toBe(true)
  })

  test('a refusal holds for as long as Redis has said, of a clock that goes on', () => {
    const refusals = new Refusals(10)
    refusals.remember('a', 5, 1000, 100_000)
    expect([refusals.since('a', 5, 100_000), refusals.since('a', 5, 100_999)]).toEqual([2, 3])
    expect(refusals.since('a', 6, 100_999)).toBe(0)
    expect(refusals.since('a', 4, 100_999)).toBe(4)
    expect(refusals.since('a', 5, 101_000)).toBe(0)
    refusals.remember('a', 5, 1000, 100_000)
    expect(refusals.since('a', 5, 99_999)).toBe(0)
  })

  test('how much of a global limit is in use is not that of a time to come', async () => {
    let at = Date.now()
    const node = await start({ global_connections: per(10) }, { now: () => at })
    await admitted(node, 5)
    expect(node.limits.utilization('global_connections')).toBe(0.5)
    at -= 60 * MINUTE
    await redis.call('flushall')
    await admitted(node, 1)
    expect(node.limits.utilization('global_connections')).toBeLessThanOrEqual(0.6)
    at += 90 * MINUTE
    expect(node.limits.utilization('global_connections')).toBe(0)
  })
})
