/** Two apps with one Redis, and what clients bring them. */
import { type RedisServer, startRedis } from '../services/redis.ts'
import { BALANCER, type TestApp } from './app.ts'
import type { stoppedAfterEach } from './started.ts'

export interface Pair {
  readonly a: TestApp
  readonly b: TestApp
  readonly redis: RedisServer
  /** One more with the same Redis. */
  another(): Promise<TestApp>
}

export async function startPair(
  started: ReturnType<typeof stoppedAfterEach>,
  more: Record<string, string> = {},
): Promise<Pair> {
  const redis = await startRedis()
  started.atEnd(() => redis.stop())
  const upstream = await started.upstream()
  const settings = {
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    REDIS_TIMEOUT: '900ms',
    PROXY_PROTOCOL_FROM: BALANCER,
    ...more,
  }
  const another = (): Promise<TestApp> => started.app(upstream.address, settings)
  return { a: await another(), b: await another(), redis, another }
}

/** A message from this client. @returns the last reply to it */
export async function deliver(app: TestApp, ip: string): Promise<string> {
  const client = await app.clientAs(ip)
  await client.hello()
  const reply = await client.send('a@example.org', 'b@example.net')
  await client.command('QUIT')
  await client.closed()
  return reply
}
