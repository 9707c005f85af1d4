/** How many share the limits: counted in a real Redis, which may come back empty and die again. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { HOLD_MS, Nodes } from '../../src/state/nodes.ts'
import type { RedisClient } from '../../src/state/redis.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { earlyInWindow, freshClient, startNode, type TestNode, WINDOW } from './shared-nodes.ts'

let redis: RedisServer
const running: TestNode[] = []
beforeEach(async () => {
  redis = await startRedis()
  await earlyInWindow(WINDOW, 20_000)
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.stop()
})
const start = async (count: number, max: number): Promise<TestNode[]> => {
  const rates = { global_connections: { max, windowMs: WINDOW } }
  const url = `redis://127.0.0.1:${redis.port}`
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(url, { rates, timeoutMs: 500 })))
  running.push(...nodes)
  for (const node of nodes) {
    await eventually(
      () => node.limits.nodes(),
      (seen) => seen === count,
    )
  }
  return nodes
}
const all = (nodes: readonly TestNode[], are: boolean) =>
  eventually(
    () => nodes.every((node) => node.limits.shared() === are),
    (so) => so,
  )
const admitted = (nodes: readonly TestNode[]): number => {
  let count = 0
  for (let i = 0; i < 30; i++) for (const node of nodes) if (node.tries(freshClient())) count++
  return count
}

describe('a Redis that comes back empty', () => {
  test('and dies again: four nodes let in 12 of 12, and not 12, 6, 4 and 3', async () => {
    const nodes = await start(4, 12)
    await redis.kill()
    await all(nodes, false)
    await redis.restart()
    // One after the other, as they find out.
    for (const node of nodes) await all([node], true)
    await redis.kill()
    await all(nodes, false)
    expect(nodes.map((node) => node.limits.nodes())).toEqual([4, 4, 4, 4])
    expect(admitted(nodes)).toBe(12)
  })

  test('and with it dies a node: its share goes to the others when it has stayed away', async () => {
    const [first, second, lost] = (await start(3, 12)) as [TestNode, TestNode, TestNode]
    await redis.kill()
    await all([first, second, lost], false)
    lost.link.client.disconnect()
    await redis.restart()
    await all([first, second], true)
    expect(first.limits.nodes()).toBe(3)
    await eventually(
      () => [first.limits.nodes(), second.limits.nodes()].join(),
      (seen) => seen === '2,2',
      HOLD_MS + 10_000,
    )
  })
})

/** A node whose Redis answers what it is told to, at the time it is told. */
function scripted() {
  const state = { at: 0, answer: [1] as unknown, failures: [] as unknown[] }
  const nodes = new Nodes({
    client: { eval: () => Promise.resolve(state.answer) } as unknown as RedisClient,
    prefix: 'test:',
    node: 'n',
    settings: () => 'x=off',
    elapsed: () => state.at,
    announced: (_, failure) => void state.failures.push(failure),
    others: () => undefined,
  })
  const hears = async (count: number, at: number): Promise<number> => {
    state.at = at
    state.answer = [count]
    await nodes.announce()
    return nodes.count
  }
  return { state, nodes, hears }
}

describe('a count that falls', () => {
  test('is believed when it has stayed low for ten seconds, one that rises at once', async () => {
    const { hears } = scripted()
    expect(await hears(4, 0)).toBe(4)
    for (let at = 2000; at < 10_000; at += 2000) expect(await hears(3, at)).toBe(4)
    expect(await hears(3, 9999)).toBe(4)
    expect(await hears(5, 9999)).toBe(5)
    expect(await hears(5, 12_000)).toBe(5)
    for (let at = 14_000; at < 22_000; at += 2000) expect(await hears(2, at)).toBe(5)
    expect(await hears(2, 22_000)).toBe(2)
  })

  test('the time that Redis was away is no part of that', async () => {
    const { hears } = scripted()
    expect(await hears(4, 0)).toBe(4)
    const back = 3_600_000
    expect(await hears(1, back)).toBe(4)
    expect(await hears(2, back + 2000)).toBe(4)
    for (let at = 4000; at < 10_000; at += 2000) expect(await hears(3, back + at)).toBe(4)
    expect(await hears(3, back + 9999)).toBe(4)
    expect(await hears(3, back + 10_000)).toBe(3)
  })

  test.each([
    ['nothing', []],
    ['OK', 'OK'],
    ['none', [0]],
    ['not a number', [Number.NaN]],
    ['a half', [1.5]],
    ['too many to be true', [2 ** 31]],
    ['2^63', [2 ** 63]],
    ['below nothing', [-1]],
    ['a list of lists', [[4]]],
    ['a number as text', ['4']],
    ['another type', null],
    ['members that are none', [4, 5]],
    ['a member without end', [4, 'x'.repeat(100_000)]],
  ])('an answer that is no count is a failure, and the last count is kept: %s', async (_, answer) => {
    const { state, nodes, hears } = scripted()
    await hears(4, 0)
    state.answer = answer
    await nodes.announce()
    expect(nodes.count).toBe(4)
    expect(state.failures).toEqual([undefined, expect.objectContaining({ name: 'Nonsense' })])
  })
})
