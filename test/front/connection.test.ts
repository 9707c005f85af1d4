/** Whoever is refused at once takes no seat. Whoever waits for a verdict has one meanwhile, and gives it back. */
import { afterEach, expect, test } from '@jest/globals'
import type { Runner } from '../../src/checks/runner.ts'
import { ACCEPT, refusal, refusalAt, type Verdict } from '../../src/core/policy.ts'
import { eventually } from '../support/app.ts'
import { startFront, type TestFront } from '../support/front.ts'
import { startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** @param judge the gate's verdict @returns a node, and how many seats were taken when it judged */
async function start(judge: () => Verdict | Promise<Verdict>): Promise<{ node: TestFront; counted: number[] }> {
  const counted: number[] = []
  const upstream = await startUpstream()
  ends.push(() => upstream.stop())
  const run: Runner['run'] = (stage, _part, facts) => {
    if (stage !== 'connect') return ACCEPT
    counted.push(facts.open.total)
    return judge()
  }
  const node = await startFront(upstream.address, {}, { checks: () => ({ edition: Symbol('test'), run }) })
  ends.push(() => node.stop())
  return { node, counted }
}

const free = (node: TestFront): Promise<number> => eventually(node.open, (open) => open === 0)

test('a client that is refused at once counts itself, and leaves no seat taken', async () => {
  const { node, counted } = await start(() => refusalAt('connect', 'denied'))
  for (let i = 0; i < 3; i++) {
    const client = await node.client()
    expect(await client.reply()).toMatch(/^554 /)
    expect(node.open()).toBe(0)
  }
  expect(counted).toEqual([1, 1, 1])
})

test.each([
  ['refused', () => refusal('ip_connections'), /^421 /],
  ['let in', () => ACCEPT, /^220 /],
] as const)('a client that waits for a verdict has a seat, and is %s', async (_, verdict, banner) => {
  const { promise, resolve } = Promise.withResolvers<Verdict>()
  const { node, counted } = await start(() => promise)
  const [one, other] = [await node.client(), await node.client()]
  await eventually(node.open, (open) => open === 2)
  expect(counted).toEqual([1, 2])
  resolve(verdict())
  for (const client of [one, other]) {
    expect(await client.reply()).toMatch(banner)
    client.destroy()
  }
  await free(node)
})
