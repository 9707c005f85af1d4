/** The app with its limits in Redis: two of them for one client, and what they do while it hangs or is away. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../support/app.ts'
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

const addsAnswered = async (app: TestApp): Promise<number> =>
  (await app.metric('spillway_redis_commands_total{use="add",result="ok"}')) ?? 0

test('ten connections of an address are ten over both', async () => {
  for (const app of apps) {
    await eventually(
      () => app.get('/api/v1/status'),
      ({ body }) => JSON.parse(body).redis.nodes === 2,
    )
  }
  const codes: string[] = []
  for (let i = 0; i < 20; i++) {
    const app = apps[i % 2] as TestApp
    const before = await addsAnswered(app)
    const code = await greeted(app, '127.0.1.1')
    codes.push(code)
    if (code !== '220') continue
    await eventually(
      () => addsAnswered(app),
      (count) => count > before,
    )
  }
  // Neither has heard of the last one at the other: the limit, and one more for each other node.
  const admitted = codes.filter((code) => code === '220').length
  expect(admitted).toBeGreaterThanOrEqual(10)
  expect(admitted).toBeLessThanOrEqual(11)
  expect(codes.slice(admitted)).toEqual(Array.from({ length: 20 - admitted }, () => '421'))
  expect(await apps[0].metric('spillway_redis_up')).toBe(1)
  expect(await apps[0].metric('spillway_redis_fallback_active')).toBe(0)
  expect(await addsAnswered(apps[0])).toBeGreaterThan(4)
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

test('R42 while Redis hangs a client of a balancer is greeted at once, and one that is reset leaves no seat', async () => {
  const app = await startApp('127.0.0.1:1', {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    LIMIT_IP_CONNECTIONS: '12/1h',
    REDIS_TIMEOUT: '5s',
    PROXY_PROTOCOL_FROM: BALANCER,
  })
  const open = () => app.metric('spillway_connections_open{family="ipv4"}')
  try {
    await eventually(
      () => app.metric('spillway_redis_up'),
      (up) => up === 1,
    )
    redis.freeze()
    for (let i = 1; i <= 2; i++) {
      const client = await app.clientAs('203.0.113.5')
      const before = performance.now()
      expect(await client.reply()).toMatch(/^220/)
      // Far less than Redis would have had.
      expect(performance.now() - before).toBeLessThan(2000)
      await eventually(open, (count) => count === 1)
      client.resetConnection()
      await eventually(open, (count) => count === 0)
    }
    // It has not been answered, and does not take Redis for away.
    expect(await app.metric('spillway_redis_up')).toBe(1)
    redis.thaw()
    await eventually(
      () => redis.call('hget', 'spillway:l:ip_connections:203.0.113.5', 'c'),
      (count) => count === '2',
    )
  } finally {
    redis.thaw()
    await app.stop()
  }
})
