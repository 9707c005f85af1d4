/** A Redis that answers what our scripts never return: that is an error, as no answer is, and no client is refused for it. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createSharedCounter } from '../../src/state/limiter.ts'
import { eventually } from '../support/app.ts'
import { counted, type FakeRedis, startFakeRedis } from './fake-redis.ts'
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
  ['a window that lasts for years', '*2\r\n:999\r\n:99999999999\r\n'],
  ['a window longer than ours', counted(9, 9, WINDOW + 1)],
  ['a window that is over', '*2\r\n:999\r\n:-1\r\n'],
  ['a number as text', '*2\r\n$1\r\n1\r\n$1\r\n0\r\n'],
  ['a float as text', '*2\r\n$3\r\n1.5\r\n:0\r\n'],
  ['NaN', '*2\r\n$3\r\nnan\r\n:0\r\n'],
  ['words', '*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n'],
  ['lists within a list', '*2\r\n*2\r\n:0\r\n:5\r\n*2\r\n:0\r\n:0\r\n'],
  ['an error', '-ERR no\r\n'],
]

test.each(NONSENSE)('no count is made of %s', async (_, nonsense) => {
  const { link } = await start()
  const counter = createSharedCounter({
    ...{ client: link.client, prefix: 'test:', name: 'x', windowMs: WINDOW, node: 'n' },
  })
  redis.answers.add = counted(3, 5, WINDOW)
  expect(await counter.add('a', 2, 1)).toEqual({ current: 3, previous: 5, leftMs: WINDOW })
  redis.answers.add = nonsense
  await expect(counter.add('a', 2, 2)).rejects.toThrow(/what is no count|ERR no/)
})

test('what makes sense is believed: a count that is used up lets nobody in', async () => {
  const node = await start({ rates: { ip_connections: per(8) } })
  redis.answers.add = counted(8, 0, WINDOW)
  const client = freshClient()
  expect(node.tries(client)).toBe(true)
  await node.told()
  expect(node.limits.take('connect', client)).toEqual({ ip_connections: { used: 9, max: 8, windowMs: WINDOW } })
})

const SOME = NONSENSE.filter(([name]) => ['OK', 'an empty list', 'NaN', '2^63'].includes(name))
const failed = (node: TestNode, use: 'add' | 'nodes', count: number): Promise<number> =>
  eventually(
    () => node.metrics.redisCommands.of(use, 'failed').value,
    (found) => found >= count,
  )
const away = (node: TestNode): Promise<boolean> =>
  eventually(
    () => node.limits.shared(),
    (shared) => !shared,
  )

describe.each(SOME)('%s', (_, nonsense) => {
  test('to what clients use: they are let in by the share of this node, and Redis counts as away', async () => {
    const node = await start({ rates: { ip_connections: per(8), global_connections: per(100) } })
    expect(node.limits.nodes()).toBe(4)
    expect(node.metrics.redisUp.of().value).toBe(1)
    redis.answers.add = nonsense
    redis.answers.nodes = nonsense
    const client = freshClient()
    const usages = [node.limits.take('connect', client)]
    // However often it is said.
    await failed(node, 'add', 3)
    for (let i = 0; i < 2; i++) usages.push(node.limits.take('connect', client))
    expect(usages.map(letIn)).toEqual([true, true, false])
    expect(usages.map(({ ip_connections }) => ip_connections)).toEqual([
      { used: 1, max: 8, windowMs: WINDOW },
      { used: 2, max: 8, windowMs: WINDOW },
      { used: 3, max: 2, windowMs: WINDOW },
    ])
    await away(node)
    expect(node.metrics.redisUp.of().value).toBe(0)
    expect(node.limits.condition()).toMatchObject({ state: 'away', error: expect.stringContaining('what is no count') })
    // The count of nodes stays as it was.
    expect(node.limits.nodes()).toBe(4)
    // And it is used again when it comes to its senses, and hears what it has not understood.
    redis.answers.add = undefined
    redis.answers.nodes = undefined
    await eventually(
      () => node.limits.shared(),
      (shared) => shared,
    )
    await node.told()
    expect(node.metrics.redisCommands.of('add', 'ok').value).toBeGreaterThanOrEqual(2)
  })

  test('to what is counted without a limit: nothing is believed of it, and Redis counts as away', async () => {
    const node = await start({ rates: { ip_recipients: per(8), unknown_recipients: per(8) } })
    redis.answers.add = nonsense
    redis.answers.nodes = nonsense
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

  test('to the announcement, at the start: Redis is not used', async () => {
    redis.answers.nodes = nonsense
    const node = await start({ started: false })
    await failed(node, 'nodes', 3)
    expect(node.limits.shared()).toBe(false)
  })
})

test('to the announcement: the last count of nodes is kept, and the failure is counted', async () => {
  const node = await start()
  redis.answers.nodes = '*0\r\n'
  await failed(node, 'nodes', 1)
  expect(node.limits.nodes()).toBe(4)
})

test('what does not even speak the protocol is no Redis', async () => {
  for (const use of ['add', 'nodes', 'other'] as const) redis.answers[use] = 'HTTP/1.1 400 Bad Request\r\n\r\n'
  const node = await start({ rates: { ip_connections: per(2) } })
  const client = freshClient()
  const tries = [node.tries(client), node.tries(client), node.tries(client)]
  expect(tries).toEqual([true, true, false])
  expect(node.limits.condition()).toMatchObject({ state: 'away', error: expect.stringContaining('RESP') })
})
