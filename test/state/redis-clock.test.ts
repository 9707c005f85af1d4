/** Clocks that go back: of Redis, when it is set or a server that is behind takes over, and of the node itself. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { LimitName, Rate } from '../../src/core/limits.ts'
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
/** Tries one after the other, each when Redis has said what it knows. */
const admitted = async (node: TestNode, tries: number): Promise<number> => {
  let count = 0
  for (let i = 0; i < tries; i++) {
    if (!node.tries(freshClient())) continue
    count++
    await node.told()
  }
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
  const SHORT = 2000
  test.each([
    ['an hour back', -60 * MINUTE],
    ['less than a window back', -0.3 * SHORT],
    ['an hour ahead', 60 * MINUTE],
  ])('what Redis has said runs out by a clock that goes on, whatever that of the node does: %s', async (_, step) => {
    let by = 0
    const node = await start({ ip_connections: per(9, SHORT) }, { now: () => Date.now() + by })
    const client = freshClient()
    await earlyInWindow(SHORT, 1500)
    const window = Math.floor(Date.now() / SHORT)
    await redis.call('hset', `test:l:ip_connections:${client.source}`, 'w', String(window), 'c', '9', 'p', '0')
    // Until Redis has spoken.
    expect(node.tries(client)).toBe(true)
    await node.told()
    expect(node.tries(client)).toBe(false)
    by = step
    const stepped = performance.now()
    expect(node.tries(client)).toBe(false)
    await eventually(
      () => node.tries(client),
      (isIn) => isIn,
    )
    expect(Math.floor(Date.now() / SHORT)).toBeGreaterThan(window)
    // Two of ten must have run out: that is a fifth of the window after the one that Redis spoke in.
    expect(performance.now() - stepped).toBeLessThan(1.5 * SHORT)
  })

  test('what was let in and not yet told is told after a step back as well, and once', async () => {
    let at = Date.now()
    const node = await start({ global_connections: per(20) }, { now: () => at })
    expect(await admitted(node, 3)).toBe(3)
    for (let i = 0; i < 4; i++) expect(node.tries(freshClient())).toBe(true)
    at -= 60 * MINUTE
    for (let i = 0; i < 5; i++) expect(node.tries(freshClient())).toBe(true)
    await node.told()
    expect(await redis.call('hget', EVERYBODY, 'c')).toBe('12')
    expect(await admitted(node, 30)).toBe(8)
    expect(await redis.call('hget', EVERYBODY, 'c')).toBe('20')
  })

  test('how much of a global limit is in use is not that of a time to come', async () => {
    let at = Date.now()
    const node = await start({ global_connections: per(10) }, { now: () => at })
    await admitted(node, 5)
    expect(node.limits.utilization('global_connections')).toBe(0.5)
    at -= 60 * MINUTE
    await redis.call('flushall')
    await admitted(node, 1)
    // Redis has lost the five, and says so.
    expect(node.limits.utilization('global_connections')).toBe(0.1)
    // Its clock has made no step, and it has answered: what it said holds.
    at += 90 * MINUTE
    expect(node.limits.utilization('global_connections')).toBe(0.1)
    // What only this node knows of is of an hour and a half ago.
    at -= 90 * MINUTE
    for (let i = 0; i < 4; i++) node.tries(freshClient())
    expect(node.limits.utilization('global_connections')).toBe(0.5)
    at += 90 * MINUTE
    expect(node.limits.utilization('global_connections')).toBe(0.1)
  })
})
