/** Nodes that share one real Redis, and one mail server. */
import { type RedisServer, startRedis } from '../services/redis.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import type { stoppedAfterEach } from '../support/started.ts'

export interface Site {
  readonly redis: RedisServer
  readonly upstream: string
  /** Starts a node whose mail server is up. */
  node(name: string, more?: Record<string, string>): Promise<TestApp>
  /** Starts a node. */
  nodeAt(upstream: string, name: string, more?: Record<string, string>): Promise<TestApp>
}

export async function site(started: ReturnType<typeof stoppedAfterEach>): Promise<Site> {
  const redis = await startRedis()
  started.atEnd(() => redis.stop())
  const { address: upstream } = await started.upstream()
  const nodeAt = (at: string, name: string, more: Record<string, string> = {}): Promise<TestApp> =>
    started.app(at, {
      ...{ HOSTNAME: name, REDIS_URL: `redis://127.0.0.1:${redis.port}`, REDIS_TIMEOUT: '900ms' },
      ...{ PROXY_PROTOCOL_FROM: BALANCER, GREETING_DELAY: 'off', OVERLOAD_EVENT_LOOP: '10s', ...more },
    })
  const node = async (name: string, more: Record<string, string> = {}): Promise<TestApp> => {
    const app = await nodeAt(upstream, name, more)
    await eventually(
      () => app.running.status().upstreams,
      ([one]) => one?.up === true,
    )
    return app
  }
  return { redis, upstream, node, nodeAt }
}
