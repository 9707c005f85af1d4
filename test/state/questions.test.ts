/** Questions of one process to others over a real Redis: how many there may be, whoever asks them. */
import { expect, test } from '@jest/globals'
import { ASKED_PER_S, hostOf, LONGEST_ANSWER, MOST_ASKED, Questions } from '../../src/state/questions.ts'
import { connectRedis } from '../../src/state/redis.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { startRedis } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { stoppedAfterEach } from '../support/started.ts'
import { addressOf } from './shared-nodes.ts'

const started = stoppedAfterEach()
const silent = { debug() {}, info() {}, warn() {}, error() {}, flush() {} } as unknown as Log

async function site() {
  const redis = await startRedis()
  started.atEnd(() => redis.stop())
  const link = connectRedis({ address: addressOf(`redis://127.0.0.1:${redis.port}`), timeoutMs: 1000, log: silent })
  started.atEnd(() => link.close())
  await eventually(() => link.connected(), Boolean)
  let at = 1_000_000
  const process = async (name: string): Promise<Questions> => {
    await redis.call('zadd', 'spillway:nodes', String(Date.now() + 60_000), `${name} x`)
    return new Questions({
      ...{ client: link.client, prefix: 'spillway:', upSince: () => 1, watched: (_, answer) => answer, log: silent },
      ...{ now: Date.now, elapsed: () => at, node: name },
    })
  }
  return {
    redis,
    process,
    later(ms: number) {
      at += ms
    },
  }
}
const open = 'spillway:{explain}'

test('a process asks few questions a second, and answers few, whoever asks', async () => {
  const { redis, process, later } = await site()
  const [a, b] = [await process('mx1:000000000001'), await process('mx2:000000000002')]
  const heard: string[] = []
  b.onAsked((asked) => {
    heard.push(asked)
    return `${asked} is well`
  })
  const asking = Array.from({ length: ASKED_PER_S + 2 }, (_, i) => a.ask(`192.0.2.${i}`))
  await eventually(
    () => redis.call('zcard', open),
    (count) => Number(count) === ASKED_PER_S,
  )
  await b.step()
  const told = await Promise.all(asking)
  expect(told.map(({ state }) => state)).toEqual([...Array(ASKED_PER_S).fill('asked'), 'busy', 'busy'])
  expect(told[1]).toMatchObject({ answers: [{ name: 'mx2:000000000002', text: '192.0.2.1 is well' }], silent: [] })
  // No question is answered twice, and in a second no more than eight.
  heard.length = 0
  later(1000)
  await redis.call('zadd', open, String(Date.now() + 60_000), 'fedcba9876543210 192.0.2.201')
  await b.step()
  await b.step()
  expect(heard).toEqual(['192.0.2.201'])
  for (let i = 0; i < 40; i++) {
    await redis.call('zadd', open, String(Date.now() + 60_000), `${String(i).padStart(16, '0')} 192.0.2.${i}`)
    if (i % 8 === 7) {
      await b.step()
      await b.step()
      await redis.call('del', open)
    }
  }
  expect(heard).toHaveLength(8)
  later(500)
  await redis.call('zadd', open, String(Date.now() + 60_000), 'abcdef0123456789 192.0.2.200')
  await b.step()
  expect(heard.at(-1)).toBe('192.0.2.200')
})

test('where too many are open nobody is asked; what stays open too long is removed, and so are long answers', async () => {
  const { redis, process, later } = await site()
  const [a, b] = [await process('mx1:000000000001'), await process('mx2:000000000002')]
  for (let i = 0; i < 8; i++) await redis.call('zadd', open, String(Date.now() + 900), `0 ${i}`)
  expect(await a.ask('192.0.2.1')).toMatchObject({ state: 'busy' })
  for (let i = 0; i < 8; i++) await redis.call('zadd', open, String(Date.now() + 60_000), `0 ${i}`)
  b.onAsked(() => 'x'.repeat(LONGEST_ANSWER + 1))
  const asking = a.ask('192.0.2.1')
  await eventually(
    () => redis.call('zcard', open),
    (count) => Number(count) === 1,
  )
  await b.step()
  // The clock of this test stands still until then.
  later(1000)
  expect(await asking).toMatchObject({ state: 'asked', answers: [], silent: ['mx2:000000000002'] })
  // Of very many processes some are not asked, and it is said how many.
  const many = Array.from({ length: 198 }, (_, i) => [String(Date.now() + 60_000), `mx${i}:00000000000a x`])
  await redis.call('zadd', 'spillway:nodes', ...many.flat())
  later(1000)
  const crowd = a.ask('192.0.2.1')
  await eventually(
    () => redis.call('zcard', open),
    (count) => Number(count) === 1,
  )
  later(1000)
  expect(await crowd).toMatchObject({ state: 'asked', more: 199 - MOST_ASKED, silent: { length: MOST_ASKED } })
  // Whatever else has the keys: it is told as if Redis were away, and nobody waits.
  await redis.call('del', open)
  await redis.call('hset', open, 'a', 'b')
  later(1000)
  expect(await a.ask('192.0.2.1')).toMatchObject({ state: 'away' })
  await b.step()
  expect(hostOf('mx\u202e1:000000000001')).toBe('mx\\u202e1')
})
