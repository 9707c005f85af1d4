/** Two apps with one Redis: who is known at one is known at the other, and at one that starts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { deliver, startPair } from '../support/pair.ts'
import { stoppedAfterEach } from '../support/started.ts'

const IP = '198.51.100.7'
const DAY = 86_400_000
const started = stoppedAfterEach()
afterEach(() => {
  jest.restoreAllMocks()
})

test('a friend of one node is a friend of all, with the settings that are shipped', async () => {
  let now = Date.now()
  jest.spyOn(Date, 'now').mockImplementation(() => now)
  const { a, b, another } = await startPair(started)
  for (let i = 0; i < 2; i++) expect(await deliver(a, IP)).toMatch(/^250/)
  now += DAY
  expect(await deliver(b, IP)).toMatch(/^250/)
  for (const app of [a, b]) {
    await eventually(
      () => app.running.status().clients.known,
      (known) => known === 1,
      5000,
    )
  }
  await a.stop()
  const c = await another()
  expect(c.running.status().clients.known).toBe(1)
  await deliver(c, IP)
  expect(await c.metric('spillway_messages_total{result="accepted",standing="known"}')).toBe(1)
  expect(await c.metric('spillway_redis_commands_total{use="history",result="failed"}')).toBe(0)
})

describe('where both SPILLWAY_REDIS_URL and SPILLWAY_HISTORY_FILE are set, an empty Redis costs nothing', () => {
  const COUNT = 50

  /** A file with friends, as a node leaves it behind. */
  function friends(): string {
    const directory = mkdtempSync(join(tmpdir(), 'history-'))
    started.atEnd(() => rmSync(directory, { recursive: true, force: true }))
    const path = join(directory, 'clients')
    const hour = Math.floor(Date.now() / 3_600_000)
    const clients = Array.from(
      { length: COUNT },
      (_, i) => `00000000c63364${(i + 1).toString(16).padStart(2, '0')} 40 25.000 0.000 ${hour - 500} ${hour - 10} 0\n`,
    )
    writeFileSync(path, `spillway history 1\n${clients.join('')}end ${COUNT}\n`)
    return path
  }
  async function begin(redis: RedisServer, path: string): Promise<TestApp> {
    const upstream = await started.upstream()
    const url = `redis://127.0.0.1:${redis.port}`
    return await started.app(upstream.address, { REDIS_URL: url, REDIS_TIMEOUT: '900ms', HISTORY_FILE: path })
  }
  const SUM =
    "local n = 0 for g = 0, 15 do n = n + redis.call('ZCARD', 'spillway:history:{' .. g .. '}:changes') end return n"
  const inRedis = async (redis: RedisServer): Promise<number> => Number(await redis.call('EVAL', SUM, '0'))
  const filled = (redis: RedisServer) =>
    eventually(
      () => inRedis(redis),
      (count) => count === COUNT,
    )

  test('at the start', async () => {
    const [redis, path] = [await startRedis(), friends()]
    started.atEnd(() => redis.stop())
    const app = await begin(redis, path)
    expect(app.running.status().clients.known).toBe(COUNT)
    await filled(redis)
    await app.stop()
    expect(readFileSync(path, 'latin1')).toContain(`end ${COUNT}\n`)
  })

  test('that comes up after the node', async () => {
    const [redis, path] = [await startRedis(), friends()]
    started.atEnd(() => redis.stop())
    await redis.kill()
    const app = await begin(redis, path)
    expect(app.running.status().clients.known).toBe(COUNT)
    await redis.restart()
    await filled(redis)
  })
})
