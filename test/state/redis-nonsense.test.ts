/** A Redis that answers what our scripts never return: that is an error, as no answer is, and no client is refused for it. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Usage } from '../../src/core/usage.ts'
import { createSharedCounter } from '../../src/state/limiter.ts'
import { eventually } from '../support/app.ts'
import { type FakeRedis, startFakeRedis } from './fake-redis.ts'
import {
  earlyInWindow,
  freshClient,
  letIn,
  startNode,
  type TestNode,
  type TestNodeOptions,
  WINDOW,
} from './shared-nodes.ts'

let redis: FakeRedis
const running: TestNode[] = []
beforeEach(async () => {
  redis = await startFakeRedis()
  await earlyInWindow(WINDOW, 10_000)
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.stop()
})
const start = async (more: TestNodeOptions = {}): Promise<TestNode> => {
  const node = await startNode(`redis://127.0.0.1:${redis.port}`, { timeoutMs: 100, ...more })
  running.push(node)
  return node
}
const per = (max: number) => ({ max, windowMs: WINDOW })

const NONSENSE: readonly [string, string][] = [
  ['OK', '+OK\r\n'],
  ['an empty list', '*0\r\n'],
  ['a list of one', '*1\r\n:1\r\n'],
  ['a list of three', '*3\r\n:1\r\n:0\r\n:0\r\n'],
  ['nil', '$-1\r\n'],
  ['a nil list', '*-1\r\n'],
  ['a list of nils', '*2\r\n$-1\r\n$-1\r\n'],
  ['a bare number', ':1\r\n'],
  ['below nothing', '*2\r\n:-1\r\n:0\r\n'],
  ['2^63', '*2\r\n:9223372036854775807\r\n:0\r\n'],
  ['2^53', '*2\r\n:9007199254740992\r\n:0\r\n'],
  ['a wait of years', '*2\r\n:999\r\n:99999999999\r\n'],
  ['a wait below nothing', '*2\r\n:999\r\n:-1\r\n'],
  ['a number as text', '*2\r\n$1\r\n1\r\n$1\r\n0\r\n'],
  ['a float as text', '*2\r\n$3\r\n1.5\r\n:0\r\n'],
  ['NaN', '*2\r\n$3\r\nnan\r\n:0\r\n'],
  ['words', '*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n'],
  ['lists within a list', '*2\r\n*2\r\n:0\r\n:5\r\n*2\r\n:0\r\n:0\r\n'],
  ['an error', '-ERR no\r\n'],
]

test.each(NONSENSE)('no count is made of %s', async (_, nonsense) => {
  const node = await start()
  const counter = createSharedCounter({ client: node.link.client, prefix: 'test:', name: 'x', windowMs: WINDOW })
  expect(await counter.charge('a', 5)).toEqual({ used: 1, waitMs: 0 })
  expect(await counter.add('a', 5)).toEqual({ used: 1, waitMs: 0 })
  redis.answers.take = nonsense
  redis.answers.add = nonsense
  await expect(counter.charge('a', 5)).rejects.toThrow(/what is no count|ERR no/)
  await expect(counter.add('a', 5)).rejects.toThrow(/what is no count|ERR no/)
})

const SOME = NONSENSE.filter(([name]) => ['OK', 'an empty list', 'NaN', '2^63'].includes(name))

describe.each(SOME)('%s', (_, nonsense) => {
  test('to what clients ask: they are let in by the share of this node, and Redis counts as away', async () => {
    const node = await start({ rates: { ip_connections: per(8), global_connections: per(100) } })
    expect(node.limits.nodes()).toBe(4)
    expect(node.metrics.redisUp.of().value).toBe(1)
    redis.answers.take = nonsense
    redis.answers.probe = nonsense
    const client = freshClient()
    const usages: Usage[] = []
    for (let i = 0; i < 3; i++) usages.push(await node.limits.take('connect', client))
    expect(usages.map(letIn)).toEqual([true, true, false])
    for (const usage of usages) {
      const { used, max } = usage.ip_connections ?? {}
      expect([Number.isSafeInteger(used), max]).toEqual([true, 2])
    }
    await eventually(
      async () => {
        await node.tries(freshClient())
        return node.metrics.redisUp.of().value
      },
      (up) => up === 0,
    )
    expect(node.limits.shared()).toBe(false)
    expect(node.metrics.redisCommands.of('take', 'failed').value).toBeGreaterThanOrEqual(3)
    expect(node.limits.condition()).toMatchObject({ state: 'away', error: expect.stringContaining('what is no count') })
    // And it is used again when it comes to its senses.
    redis.answers.take = undefined
    redis.answers.probe = undefined
    await eventually(
      () => node.limits.shared(),
      (shared) => shared,
    )
  })

  test('to what is told later: nothing is believed of it, and Redis counts as away', async () => {
    const node = await start({ rates: { ip_recipients: per(8), unknown_recipients: per(8) } })
    redis.answers.add = nonsense
    redis.answers.probe = nonsense
    const client = freshClient()
    let asked = 0
    await eventually(
      () => {
        node.limits.heard(client, `u${asked++}@example.net`, true)
        return node.limits.shared()
      },
      (shared) => !shared,
    )
    expect(node.limits.lately(client)).toMatchObject({ unknown: { used: asked }, asked })
    expect(node.limits.recipient(freshClient(), {})).toMatchObject({ used: 1 })
    expect(node.metrics.redisCommands.of('add', 'failed').value).toBeGreaterThanOrEqual(3)
  })

  test('to the probe, at the start: Redis is not used', async () => {
    redis.answers.probe = nonsense
    const node = await start({ started: false })
    await eventually(
      () => node.metrics.redisCommands.of('probe', 'failed').value,
      (count) => count > 2,
    )
    expect(node.limits.shared()).toBe(false)
  })
})

test('to the announcement: the last count of nodes is kept, and the failure is counted', async () => {
  const node = await start()
  redis.answers.nodes = '*0\r\n'
  await eventually(
    () => node.metrics.redisCommands.of('nodes', 'failed').value,
    (count) => count > 0,
  )
  expect(node.limits.nodes()).toBe(4)
})

test('what does not even speak the protocol is no Redis', async () => {
  for (const use of ['take', 'add', 'probe', 'nodes', 'other'] as const)
    redis.answers[use] = 'HTTP/1.1 400 Bad Request\r\n\r\n'
  const node = await start({ rates: { ip_connections: per(2) } })
  const client = freshClient()
  const tries = [await node.tries(client), await node.tries(client), await node.tries(client)]
  expect(tries).toEqual([true, true, false])
  expect(node.limits.condition()).toMatchObject({ state: 'away', error: expect.stringContaining('RESP') })
})
