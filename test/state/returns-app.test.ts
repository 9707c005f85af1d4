/** Two apps with one Redis, at level 3: a stranger that one has put off goes first at the other, with the settings that are shipped. */
import { setTimeout } from 'node:timers/promises'
import { afterEach, expect, jest, test } from '@jest/globals'
import { startRedis } from '../services/redis.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
afterEach(() => {
  jest.restoreAllMocks()
})

async function deliver(app: TestApp, ip: string): Promise<string> {
  const client = await app.clientAs(ip)
  await client.hello()
  const reply = await client.send('a@example.org', 'b@example.net')
  await client.command('QUIT')
  await client.closed()
  return reply.slice(0, 3)
}

const rationed = (app: TestApp, came: string, result: string) =>
  app.metric(`spillway_rationed_messages_total{came="${came}",result="${result}"}`)

test('what was put off at one node comes back at another', async () => {
  let now = Date.now()
  jest.spyOn(Date, 'now').mockImplementation(() => now)
  const redis = await startRedis()
  started.atEnd(() => redis.stop())
  const upstream = await started.upstream()
  const settings = {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    REDIS_TIMEOUT: '900ms',
    PROXY_PROTOCOL_FROM: BALANCER,
    OVERLOAD: '3',
    // The share follows the pressure, and the event loop is that of the test, too.
    OVERLOAD_EVENT_LOOP: '10s',
  }
  const a = await started.app(upstream.address, settings)
  const b = await started.app(upstream.address, settings)
  expect(await deliver(a, '198.51.100.7')).toBe('451')
  now += 61_000
  // Once a second all is told and heard. Nineteen tries are put off at the least, unless one has come back.
  let tries = 0
  const tryAgain = async (): Promise<string> => {
    if (tries++ > 0) await setTimeout(400)
    return deliver(b, '198.51.100.9')
  }
  await eventually(tryAgain, (code) => code === '250')
  expect(await rationed(b, 'back', 'let_in')).toBe(1)
  expect(await rationed(a, 'first', 'put_off')).toBe(1)
  expect(await b.metric('spillway_redis_commands_total{use="returns",result="failed"}')).toBe(0)
  const line = await a.waitForLog(({ msg }) => msg === 'session')
  expect(line).toMatchObject({ reason: 'overload', came: 'first', standing: 'new', share: 0.05 })
})
