/** A reload of nodes that share their limits through a real Redis. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually, startApp, type TestApp } from '../support/app.ts'
import { earlyInWindow } from './shared-nodes.ts'

let redis: RedisServer
let apps: TestApp[] = []
const settings = (rate: string): Record<string, string> => ({
  REDIS_URL: `redis://127.0.0.1:${redis.port}`,
  LIMIT_IP_CONNECTIONS: rate,
  REDIS_TIMEOUT: '900ms',
})
beforeAll(async () => {
  redis = await startRedis()
  await earlyInWindow(3_600_000, 30_000)
  apps = await Promise.all([1, 2].map(() => startApp('127.0.0.1:1', settings('4/1h'))))
})
afterAll(async () => {
  await Promise.all(apps.map((app) => app.stop()))
  await redis.stop()
})

const addsAnswered = async (app: TestApp): Promise<number> =>
  (await app.metric('spillway_redis_commands_total{use="add",result="ok"}')) ?? 0

async function admitted(app: TestApp, from: string): Promise<number> {
  let count = 0
  for (let i = 0; i < 12; i++) {
    const before = await addsAnswered(app)
    const client = await app.client(from)
    const isIn = (await client.reply()).startsWith('220')
    client.destroy()
    if (!isIn) continue
    count++
    // Until Redis has said what all have counted, a node keeps to its share.
    await eventually(
      () => addsAnswered(app),
      (answered) => answered > before,
    )
  }
  return count
}
const nodesSeen = (): number[] => apps.map((app) => app.running.status().redis?.nodes ?? 0)

test('each keeps what all have counted, tells the others its new limit, and still counts once', async () => {
  const [first, second] = apps as [TestApp, TestApp]
  await eventually(nodesSeen, (seen) => seen.join() === '2,2')
  expect(await admitted(first, '127.0.2.1')).toBe(4)
  const seen: number[][] = []
  const watching = setInterval(() => void seen.push(nodesSeen()), 50)

  expect(await first.reload(settings('6/1h'))).toMatchObject({ result: 'ok', needsRestart: [] })
  expect(await second.waitForLog(({ msg }) => /is not the same on all nodes/.test(String(msg)))).toMatchObject({
    setting: 'SPILLWAY_LIMIT_IP_CONNECTIONS',
    here: '4/1h',
    others: [{ value: '6/1h' }],
  })
  expect(await second.reload(settings('6/1h'))).toMatchObject({ result: 'ok' })
  expect(await second.waitForLog(({ msg }) => /^all nodes have the same/.test(String(msg)))).toMatchObject({
    here: '6/1h',
  })
  clearInterval(watching)
  // With a name for each of its limits, a node would have counted twice for six seconds.
  expect(new Set(seen.flat())).toEqual(new Set([2]))
  // Four of six are used up, whichever node is asked.
  expect(await admitted(first, '127.0.2.1')).toBe(2)
})

test('a limit that is given another window begins at zero on all nodes, and they count it together in that window', async () => {
  const [first, second] = apps as [TestApp, TestApp]
  for (const app of apps) expect(await app.reload(settings('3/30m'))).toMatchObject({ result: 'ok', needsRestart: [] })
  await eventually(nodesSeen, (seen) => seen.join() === '2,2')
  expect(await admitted(first, '127.0.2.1')).toBe(3)
  // It lets in one before it has heard of the others.
  expect(await admitted(second, '127.0.2.1')).toBeLessThanOrEqual(1)
  // One that is switched off and on again begins at zero as well, and is what Redis says of all nodes.
  for (const app of apps) await app.reload(settings('off'))
  expect(await (await first.client('127.0.2.1')).reply()).toMatch(/^220/)
  for (const app of apps) await app.reload(settings('5/1h'))
  expect(await admitted(second, '127.0.2.1')).toBe(5)
  expect(await admitted(first, '127.0.2.1')).toBeLessThanOrEqual(1)
}, 60_000)
