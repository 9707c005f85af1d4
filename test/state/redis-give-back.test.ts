/** A message that no mail server was asked about gives back what it was charged: at this node, at Redis, and only once. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Client } from '../../src/core/client.ts'
import type { Usage } from '../../src/core/usage.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { earlyInWindow, freshClient, letIn, startNode, type TestNode, WINDOW } from './shared-nodes.ts'

let redis: RedisServer
const running: TestNode[] = []
beforeAll(async () => {
  redis = await startRedis()
})
beforeEach(async () => {
  redis.thaw()
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.call('flushall')
  await earlyInWindow(WINDOW, 8000)
})
afterAll(async () => {
  redis.thaw()
  await Promise.all(running.map((each) => each.stop()))
  await redis.stop()
})

const per = (max: number) => ({ max, windowMs: WINDOW })
const RATES = { ip_messages: per(10), global_messages: per(20), ip_recipients: per(30) }
async function two(timeoutMs = 2000): Promise<[TestNode, TestNode]> {
  const url = `redis://127.0.0.1:${redis.port}`
  const both = await Promise.all([1, 2].map(() => startNode(url, { rates: RATES, timeoutMs })))
  running.push(...both)
  for (const node of both) {
    await eventually(
      () => node.limits.nodes(),
      (count) => count === 2,
    )
  }
  return both as [TestNode, TestNode]
}
const held = async (limit: string, of: string): Promise<number> =>
  Number(await redis.call('hget', `test:l:${limit}:${of}`, 'c'))
/** Messages one after the other, each when Redis has said what it knows. */
async function letsIn(node: TestNode, tries: number, client: Client): Promise<number> {
  let count = 0
  for (let i = 0; i < tries; i++) {
    if (!node.tries(client, 'rcpt')) continue
    count++
    await node.told()
  }
  return count
}

test.each([
  ['before Redis has heard of it', false],
  ['of what Redis has heard', true],
])('over two nodes: what is given back at one is there at the other; %s', async (_, isTold) => {
  const [a, b] = await two()
  const client = freshClient()
  // Redis hears of the key of a client's recipients from the second on.
  for (let i = 0; i < 2; i++) a.limits.recipient(client, {})
  for (let i = 0; i < 10; i++) {
    const usage = a.limits.take('rcpt', client)
    expect(letIn(usage)).toBe(true)
    for (let k = 0; k < 3; k++) expect(a.limits.recipient(client, usage)?.used).toBe(2 + k + 1)
    if (isTold) {
      await a.told()
      expect(await held('ip_messages', client.source)).toBe(1)
      expect(await held('ip_recipients', client.source)).toBe(5)
    }
    a.limits.giveBack(client, usage, 3)
    if (isTold) await a.told()
  }
  await a.told()
  expect(await held('ip_messages', client.source)).toBe(0)
  expect(await held('global_messages', '*')).toBe(0)
  expect(await held('ip_recipients', client.source)).toBe(2)
  expect(await letsIn(b, 20, client)).toBe(10)
  // Until this one has heard of it: one more.
  expect(await letsIn(a, 1, client)).toBeLessThanOrEqual(1)
  expect(a.tries(client, 'rcpt')).toBe(false)
})

test('a message that was refused gives nothing back', async () => {
  const [a, b] = await two()
  const client = freshClient()
  expect(await letsIn(b, 9, client)).toBe(9)
  expect(await letsIn(a, 1, client)).toBe(1)
  for (let i = 0; i < 5; i++) {
    const usage = a.limits.take('rcpt', client)
    expect(letIn(usage)).toBe(false)
    a.limits.giveBack(client, usage, 0)
  }
  await a.told()
  expect(await held('global_messages', '*')).toBe(10)
  expect(await held('ip_messages', client.source)).toBe(10)
})

test('what a wide limit refuses is given back to the narrow one, and Redis hears nothing of it', async () => {
  const [a, b] = await two()
  for (let i = 0; i < 2; i++) expect(await letsIn(b, 10, freshClient())).toBe(10)
  // This one hears of it with the first that it lets in.
  expect(await letsIn(a, 1, freshClient())).toBe(1)
  const client = freshClient()
  for (let i = 0; i < 5; i++) {
    const usage = a.limits.take('rcpt', client)
    expect(usage).toMatchObject({ ip_messages: { used: 1 }, global_messages: { used: 22 + i, max: 20 } })
  }
  await a.told()
  expect(await held('global_messages', '*')).toBe(21)
  expect(await held('ip_messages', client.source)).toBe(0)
})

test('what was let in by the share of a node, while Redis was away, is not taken from what Redis has counted', async () => {
  const [a, b] = await two(50)
  const client = freshClient()
  expect(await letsIn(a, 6, client)).toBe(6)
  redis.freeze()
  const usages: Usage[] = []
  // Some are on their way when they are given back, and the others not yet.
  for (let i = 0; i < 2; i++) usages.push(b.limits.take('rcpt', client))
  await eventually(
    () => b.limits.shared(),
    (shared) => !shared,
  )
  for (let i = 0; i < 2; i++) usages.push(b.limits.take('rcpt', client))
  expect(usages.every(letIn)).toBe(true)
  for (const usage of usages) b.limits.giveBack(client, usage, 0)
  redis.thaw()
  await eventually(
    () => b.limits.shared(),
    (shared) => shared,
  )
  await b.told()
  expect(await held('ip_messages', client.source)).toBe(6)
  expect(await held('global_messages', '*')).toBe(6)
  expect(b.tries(client, 'rcpt')).toBe(true)
})
