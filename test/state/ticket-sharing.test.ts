/** Nodes agree on the secret of TLS session tickets for each day, in a real Redis, by clocks of the test. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { connectRedis, type RedisLink } from '../../src/state/redis.ts'
import { TicketSharing } from '../../src/state/ticket-sharing.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { addressOf } from './shared-nodes.ts'

const DAY_MS = 86_400_000
const SECOND = 1000
const SILENT = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const LOG: Log = { ...SILENT, flush: () => undefined }

let redis: RedisServer
const ends: (() => unknown)[] = []
beforeEach(async () => {
  redis = await startRedis()
})
afterEach(async () => {
  redis.thaw()
  for (const end of ends.splice(0).reverse()) await end()
  await redis.stop()
})

interface TestNode {
  /** Each secret that it has taken. */
  readonly adopted: string[]
  /** How often it has asked, and was answered. */
  asked: number
  answers: number
  at: number
}

async function startNode(at: number): Promise<TestNode> {
  const address = addressOf(`redis://127.0.0.1:${redis.port}`)
  const link: RedisLink = connectRedis({ address, timeoutMs: 500, log: LOG })
  await eventually(
    () => link.client.status,
    (status) => status === 'ready',
  )
  const node: TestNode = { adopted: [], asked: 0, answers: 0, at }
  const sharing = new TicketSharing({
    client: link.client,
    prefix: 'test:',
    upSince: () => 1,
    watched: async (_, answer) => {
      node.asked++
      const got = await answer
      node.answers++
      return got
    },
    now: () => node.at,
    adopt: (secret) => void node.adopted.push(secret),
    log: LOG,
  })
  sharing.start()
  ends.push(
    () => link.close(),
    () => sharing.stop(),
  )
  await adopts(node, 1)
  return node
}

const adopts = (node: TestNode, count: number): Promise<unknown> =>
  eventually(
    () => node.adopted.length,
    (length) => length === count,
  )
const answered = (node: TestNode, count: number): Promise<unknown> =>
  eventually(
    () => node.answers,
    (answers) => answers === count,
  )

const MIDNIGHT = Math.ceil(Date.now() / DAY_MS) * DAY_MS
const EVENING = MIDNIGHT - 2 * SECOND

test('when the day changes, all nodes take the same new secret, and that of yesterday is kept for a day', async () => {
  const [a, b] = [await startNode(EVENING), await startNode(EVENING)]
  expect(b.adopted).toEqual(a.adopted)
  a.at = MIDNIGHT
  await adopts(a, 2)
  // The other's clock is behind: until its own midnight it has that of yesterday, and asks for no other.
  b.at = MIDNIGHT - 1
  expect(b.adopted).toHaveLength(1)
  b.at = MIDNIGHT + SECOND
  await adopts(b, 2)
  expect(b.adopted).toEqual(a.adopted)
  expect(a.adopted[1]).not.toBe(a.adopted[0])
  const day = MIDNIGHT / DAY_MS
  const held = (which: number): Promise<string> => redis.call('HGET', `test:tickets:${which}`, 'secret')
  expect([await held(day - 1), await held(day)]).toEqual(a.adopted)
  for (const which of [day - 1, day]) {
    const ms = Number(await redis.call('PTTL', `test:tickets:${which}`))
    expect(ms).toBeGreaterThan(2 * DAY_MS - 60_000)
    expect(ms).toBeLessThanOrEqual(2 * DAY_MS)
  }
  // One that is started later has the same from the beginning.
  expect((await startNode(MIDNIGHT + 2 * SECOND)).adopted).toEqual([a.adopted[1]])
})

test('within a day it is asked again each minute, and nothing changes', async () => {
  const node = await startNode(EVENING - 3_600_000)
  for (let count = 2; count < 4; count++) {
    node.at += 60_000
    await answered(node, count)
  }
  expect(node.adopted).toHaveLength(1)
})

test('a Redis that hangs at midnight leaves a node the secret that it has, until Redis answers again', async () => {
  const node = await startNode(EVENING)
  redis.freeze()
  node.at = MIDNIGHT
  await eventually(
    () => node.asked,
    (asked) => asked === 2,
  )
  expect([node.adopted.length, node.answers]).toEqual([1, 1])
  redis.thaw()
  node.at += 60_000
  await adopts(node, 2)
})
