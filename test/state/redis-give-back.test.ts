/** A message that no mail server was asked about gives back what it was charged: at this node, at Redis, and only once. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
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
  return both as [TestNode, TestNode]
}
const held = async (limit: string, of: string): Promise<number> =>
  Number(await redis.call('hget', `test:l:${limit}:${of}`, 'c'))
const comesTo = (limit: string, of: string, count: number): Promise<number> =>
  eventually(
    () => held(limit, of),
    (found) => found === count,
  )

test('over two nodes: what is given back at one is there at the other', async () => {
  const [a, b] = await two()
  const client = freshClient()
  for (let i = 0; i < 10; i++) {
    const usage = await a.limits.take('rcpt', client)
    expect(letIn(usage)).toBe(true)
    for (let k = 0; k < 3; k++) expect(a.limits.recipient(client, usage)?.used).toBe(k + 1)
    a.limits.giveBack(client, usage, 3)
  }
  await comesTo('ip_messages', client.source, 0)
  await comesTo('global_messages', '*', 0)
  await comesTo('ip_recipients', client.source, 0)
  let admitted = 0
  for (let i = 0; i < 20; i++) if (await b.tries(client, 'rcpt')) admitted++
  expect(admitted).toBe(10)
  expect(await a.tries(client, 'rcpt')).toBe(false)
})

test('a message that was refused gives nothing back', async () => {
  const [a, b] = await two()
  const client = freshClient()
  for (let i = 0; i < 10; i++) expect(await b.tries(client, 'rcpt')).toBe(true)
  for (let i = 0; i < 5; i++) {
    const usage = await a.limits.take('rcpt', client)
    expect(letIn(usage)).toBe(false)
    a.limits.giveBack(client, usage, 0)
  }
  await comesTo('global_messages', '*', 10)
  expect(await held('ip_messages', client.source)).toBe(10)
})

test('what was let in by the share of a node, while Redis was away, is not taken from what Redis has counted', async () => {
  const [a, b] = await two(50)
  const client = freshClient()
  for (let i = 0; i < 6; i++) expect(await a.tries(client, 'rcpt')).toBe(true)
  await eventually(
    () => b.limits.nodes(),
    (count) => count === 2,
  )
  redis.freeze()
  await eventually(
    async () => {
      await b.limits.take('rcpt', freshClient(), 'sender')
      return b.limits.shared()
    },
    (shared) => !shared,
  )
  const usages: Usage[] = []
  for (let i = 0; i < 4; i++) usages.push(await b.limits.take('rcpt', client))
  expect(usages.every(letIn)).toBe(true)
  for (const usage of usages) b.limits.giveBack(client, usage, 0)
  redis.thaw()
  await eventually(
    () => b.limits.shared(),
    (shared) => shared,
  )
  // Whatever it had to say has been said when this is there: it comes last.
  const other = freshClient()
  b.limits.recipient(other, {})
  await comesTo('ip_recipients', other.source, 1)
  expect(await held('ip_messages', client.source)).toBe(6)
  expect(await held('global_messages', '*')).toBe(6)
  expect(await b.tries(client, 'rcpt')).toBe(true)
})
