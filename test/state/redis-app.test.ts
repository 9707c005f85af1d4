/** The app with its limits in Redis: two of them for one client, and what they do without Redis. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { BALANCER, eventually, startApp, type TestApp, turn } from '../support/app.ts'
import { earlyInWindow } from './shared-nodes.ts'

let redis: RedisServer
let apps: [TestApp, TestApp]
beforeAll(async () => {
  redis = await startRedis()
  const settings = {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    LIMIT_IP_CONNECTIONS: '10/1h',
    // On a busy machine too, Redis answers within that.
    REDIS_TIMEOUT: '900ms',
  }
  await earlyInWindow(3_600_000, 5000)
  apps = [await startApp('127.0.0.1:1', settings), await startApp('127.0.0.1:1', settings)]
})
afterAll(async () => {
  await Promise.all(apps.map((app) => app.stop()))
  await redis.stop()
})

async function greeted(app: TestApp, from: string): Promise<string> {
  const client = await app.client(from)
  const greeting = await client.reply()
  client.destroy()
  return greeting.slice(0, 3)
}

test('ten connections of an address are ten over both', async () => {
  const codes: string[] = []
  for (let i = 0; i < 20; i++) codes.push(await greeted(apps[i % 2] as TestApp, '127.0.1.1'))
  expect(codes.filter((code) => code === '220')).toHaveLength(10)
  expect(codes.filter((code) => code === '421')).toHaveLength(10)
  expect(await apps[0].metric('spillway_redis_up')).toBe(1)
  expect(await apps[0].metric('spillway_redis_fallback_active')).toBe(0)
  expect(await apps[0].metric('spillway_redis_commands_total{use="take",result="ok"}')).toBeGreaterThan(4)
})

test('without Redis they serve on, and say so', async () => {
  await redis.kill()
  await apps[0].waitForLog((line) => String(line.msg).startsWith('Redis does not answer'))
  expect(await greeted(apps[0], '127.0.1.2')).toBe('220')
  expect(await apps[0].metric('spillway_redis_up')).toBe(0)
  expect(await apps[0].metric('spillway_redis_fallback_active')).toBe(1)
  await redis.restart()
  await eventually(
    () => apps[0].metric('spillway_redis_up'),
    (up) => up === 1,
  )
})

test('status and readiness tell how Redis is, since when, and what went wrong last', async () => {
  const before = Date.now()
  const [app] = apps
  const readiness = async (): Promise<string> => (await app.get('/readyz?verbose')).body
  const state = async () => JSON.parse((await app.get('/api/v1/status')).body).redis
  await eventually(state, ({ state, nodes }) => state === 'up' && nodes === 2)
  expect(await readiness()).toMatch(/^redis: up since .*nodes: 2$/m)
  await redis.kill()
  const away = await eventually(state, ({ state, error }) => state === 'away' && error?.includes('ECONNREFUSED'))
  expect(away.up).toBe(false)
  expect(Date.parse(away.since)).toBeGreaterThanOrEqual(before)
  expect(await readiness()).toMatch(/^redis: away since .*ECONNREFUSED/m)
  await redis.restart()
  await eventually(readiness, (text) => /^redis: up since .*nodes: [12]$/m.test(text))
})

test('R42 a client of a balancer that is reset while the gate waits for Redis leaves no seat', async () => {
  const app = await startApp('127.0.0.1:1', {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    LIMIT_IP_CONNECTIONS: '1000/1h',
    REDIS_TIMEOUT: '900ms',
    PROXY_PROTOCOL_FROM: BALANCER,
  })
  const open = () => app.metric('spillway_connections_open{family="ipv4"}')
  try {
    redis.freeze()
    const client = await app.clientAs('203.0.113.5')
    await eventually(open, (count) => count === 1)
    client.resetConnection()
    // Nothing but our socket tells of it: until the answer of Redis the gate stands where it stood.
    await turn(app)
    redis.thaw()
    await eventually(open, (count) => count === 0)
  } finally {
    redis.thaw()
    await app.stop()
  }
})
