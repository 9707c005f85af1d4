/** What the operator is told of Redis: its state, since when, what went wrong last and when it answered last. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { freshClient, startNode, type TestNode, type TestNodeOptions } from './shared-nodes.ts'

let redis: RedisServer
const running: TestNode[] = []
beforeEach(async () => {
  redis = await startRedis({
    config: ['user default on >s3cret ~* +@all'],
    login: { password: 's3cret' },
  })
})
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()))
  await redis.stop()
})
const start = async (more: TestNodeOptions = {}, password = 's3cret'): Promise<TestNode> => {
  const node = await startNode(`redis://${password.includes(':') ? '' : ':'}${password}@127.0.0.1:${redis.port}`, {
    timeoutMs: 500,
    ...more,
  })
  running.push(node)
  return node
}

test('up: since when, and when it answered last', async () => {
  let at = 1_700_000_000_000
  const node = await start({ now: () => at, rates: { ip_connections: { max: 9, windowMs: 60_000 } } })
  expect(node.limits.condition()).toEqual({ state: 'up', since: at, lastSuccess: at })
  at += 60_000
  node.tries(freshClient())
  await node.told()
  expect(node.limits.condition()).toEqual({ state: 'up', since: at - 60_000, lastSuccess: at })
})

test('away: since when, why, and when it answered last; then up again, with what went wrong', async () => {
  let at = 1_700_000_000_000
  const node = await start({ now: () => at })
  at += 60_000
  await redis.kill()
  const away = await eventually(
    () => node.limits.condition(),
    ({ error }) => error?.includes('ECONNREFUSED') === true,
  )
  expect(away).toMatchObject({ state: 'away', since: at, lastSuccess: at - 60_000 })
  at += 60_000
  await redis.restart()
  const back = await eventually(
    () => node.limits.condition(),
    ({ state }) => state === 'up',
  )
  expect(back).toEqual({ state: 'up', since: at, lastSuccess: at, error: expect.stringContaining('ECONNREFUSED') })
})

test('never there: the reason that Redis itself gives, and no success', async () => {
  const node = await start({}, 'wrong')
  const { state, error, lastSuccess } = node.limits.condition()
  expect([state, lastSuccess]).toEqual(['away', undefined])
  expect(error).toMatch(/WRONGPASS|invalid password/)
})

test('a user who may count but not announce: Redis is up, and the log says what is missing, once', async () => {
  await redis.call('acl', 'setuser', 'counts', 'on', '>s3cret', '~*', '+@all', '-zadd')
  const node = await start({ rates: { global_connections: { max: 9, windowMs: 60_000 } } }, 'counts:s3cret')
  const warned = (): string[] => node.log.filter((line) => line.includes('cannot announce itself'))
  node.tries(freshClient())
  await eventually(
    () => [node.limits.shared(), warned().length],
    ([isShared, count]) => isShared === true && count === 1,
  )
  expect(node.limits.condition().error).toMatch(/can't run this command|NOPERM/)
  const failed = node.metrics.redisCommands.of('nodes', 'failed').value
  await eventually(
    () => node.metrics.redisCommands.of('nodes', 'failed').value,
    (count) => count > failed + 1,
  )
  expect(warned()).toHaveLength(1)
})

test('a server that may only be read from is away, and says so', async () => {
  const node = await start({ rates: { ip_connections: { max: 9, windowMs: 60_000 } } })
  await redis.call('config', 'set', 'maxmemory', '1')
  node.tries(freshClient())
  await eventually(
    () => node.limits.condition(),
    ({ state, error }) => state === 'away' && error?.includes('OOM') === true,
  )
})
