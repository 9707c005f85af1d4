/** R43 over the life of a node: what it remembers of recipients outlives it, where there is a Redis. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually, startApp, type TestApp } from '../support/app.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { recordsIn } from './known-records.ts'

let redis: RedisServer
let upstream: Upstream
/** Whether the directory behind the upstream has failed. */
let broken: boolean
const running: TestApp[] = []
beforeEach(async () => {
  broken = false
  redis = await startRedis()
  upstream = await startUpstream({
    script: (verb) => (verb === 'RCPT' && broken ? '550 5.1.1 no such user' : 'default'),
  })
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((app) => app.stop()))
  await Promise.all([upstream.stop(), redis.stop()])
})

async function start(): Promise<TestApp> {
  const app = await startApp(upstream.address, {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    REDIS_TIMEOUT: '500ms',
    LIMIT_IP_UNKNOWN_RECIPIENTS: 'off',
  })
  running.push(app)
  return app
}
/** The replies to these recipients of one message. */
async function replies(app: TestApp, count: number): Promise<string[]> {
  const client = await app.client()
  await client.hello()
  await client.command('MAIL FROM:<a@example.org>')
  const codes: string[] = []
  for (let i = 0; i < count; i++) codes.push((await client.command(`RCPT TO:<u${i}@example.net>`)).slice(0, 9))
  client.destroy()
  return codes
}
/** What a node that starts has to read: the secret, and 64 keys. */
const loaded = (app: TestApp): Promise<unknown> =>
  eventually(
    () => app.metric('spillway_redis_commands_total{use="known",result="ok"}'),
    (count) => (count ?? 0) >= 65,
  )

test('the directory fails just after the node was started anew: nobody bounces but the first nineteen', async () => {
  const first = await start()
  expect(new Set(await replies(first, 40))).toEqual(new Set(['250 2.1.5']))
  await first.stop()
  const again = await start()
  await loaded(again)
  broken = true
  const codes = await replies(again, 40)
  expect(codes).toEqual([...Array(19).fill('550 5.1.1'), ...Array(21).fill('451 4.3.0')])
  expect(await again.metric('spillway_redis_commands_total{use="known",result="failed"}')).toBe(0)
})

test('and at a node that is new beside the one that has learned it', async () => {
  const first = await start()
  await replies(first, 40)
  // It is shared within a second of being learned.
  await eventually(
    () => recordsIn(redis, 'spillway:'),
    (count) => count === 40,
  )
  const second = await start()
  await loaded(second)
  broken = true
  expect((await replies(second, 40)).filter((code) => code === '451 4.3.0')).toHaveLength(21)
})

test('while Redis hangs, recipients are answered as they are without it', async () => {
  const app = await start()
  await loaded(app)
  redis.freeze()
  const began = performance.now()
  expect(new Set(await replies(app, 200))).toEqual(new Set(['250 2.1.5']))
  // Nothing here but the limits may wait for it, and they do so at most three times.
  expect(performance.now() - began).toBeLessThan(5000)
  redis.thaw()
})
