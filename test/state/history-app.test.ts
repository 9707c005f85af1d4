/** Two apps with one Redis: who is known at one is known at the other, and at one that starts. */
import { afterEach, expect, jest, test } from '@jest/globals'
import { startRedis } from '../services/redis.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import { stoppedAfterEach } from '../support/started.ts'

const IP = '198.51.100.7'
const DAY = 86_400_000
const started = stoppedAfterEach()
afterEach(() => {
  jest.restoreAllMocks()
})

async function deliver(app: TestApp): Promise<string> {
  const client = await app.clientAs(IP)
  await client.hello()
  const reply = await client.send('a@example.org', 'b@example.net')
  await client.command('QUIT')
  await client.closed()
  return reply
}

test('a friend of one node is a friend of all, with the settings that are shipped', async () => {
  let now = Date.now()
  jest.spyOn(Date, 'now').mockImplementation(() => now)
  const redis = await startRedis()
  started.atEnd(() => redis.stop())
  const upstream = await started.upstream()
  const settings = {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    REDIS_TIMEOUT: '900ms',
    PROXY_PROTOCOL_FROM: BALANCER,
  }
  const a = await started.app(upstream.address, settings)
  const b = await started.app(upstream.address, settings)
  for (let i = 0; i < 2; i++) expect(await deliver(a)).toMatch(/^250/)
  now += DAY
  expect(await deliver(b)).toMatch(/^250/)
  for (const app of [a, b]) {
    await eventually(
      () => app.running.status().clients.known,
      (known) => known === 1,
      5000,
    )
  }
  await a.stop()
  const c = await started.app(upstream.address, settings)
  expect(c.running.status().clients.known).toBe(1)
  await deliver(c)
  expect(await c.metric('spillway_messages_total{result="accepted",standing="known"}')).toBe(1)
  expect(await c.metric('spillway_redis_commands_total{use="history",result="failed"}')).toBe(0)
})
