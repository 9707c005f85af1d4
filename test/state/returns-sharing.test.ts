/** What was put off at one node comes back at another, over a real Redis. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { connectRedis, type RedisLink } from '../../src/state/redis.ts'
import { Returns } from '../../src/state/returns.ts'
import { MOST_OF_SLICE, RECORD, ReturnsSharing, SLICE_MS } from '../../src/state/returns-sharing.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { type RedisServer, startRedis, startRedisCluster } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { addressOf } from './shared-nodes.ts'

const NET = '192.0.2.0/24'
const letter = (i = 0) => ({ from: `${i}@example.org`, to: 'b@example.net' })
/** The beginning of ten minutes. */
const BEGIN = 3_000_000 * SLICE_MS
let now: number
let secret: string
const ends: (() => Promise<void>)[] = []
beforeEach(() => {
  now = BEGIN + 60_000
  secret = 's'
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

interface Node {
  readonly returns: Returns
  readonly sharing: ReturnsSharing
  readonly link: RedisLink
  readonly warnings: string[]
  /** Commands to Redis. */
  count: number
  /** Undefined while Redis is away. */
  up: number | undefined
}

async function server(): Promise<RedisServer> {
  const redis = await startRedis()
  ends.push(() => redis.stop())
  return redis
}

async function begin(url: string): Promise<Node> {
  const returns = new Returns({
    secret: () => secret,
    afterMs: () => 60_000,
    now: () => now,
    seed: new Uint8Array(8),
    sets: 1 << 14,
  })
  const warnings: string[] = []
  const silent = (): void => undefined
  const warn = (fields: unknown): void => void warnings.push(String((fields as { err?: string }).err))
  const log: Log = { debug: silent, info: silent, warn, error: silent, flush: silent }
  const link = connectRedis({ address: addressOf(url), timeoutMs: 2000, log: { ...log, warn: silent } })
  ends.push(() => link.close())
  const node = { returns, link, warnings, count: 0, up: 1 as number | undefined }
  const sharing = new ReturnsSharing({
    ...{ returns, client: link.client, prefix: 'spillway:', now: () => now, elapsed: () => performance.now(), log },
    upSince: () => (link.connected() ? node.up : undefined),
    watched(_, answer) {
      node.count++
      return answer
    },
  })
  await eventually(
    () => link.connected(),
    (open) => open,
  )
  return Object.assign(node, { sharing })
}

const urlOf = ({ port }: RedisServer): string => `redis://127.0.0.1:${port}`
async function two(): Promise<[Node, Node, RedisServer]> {
  const redis = await server()
  return [await begin(urlOf(redis)), await begin(urlOf(redis)), redis]
}
/** Each tells, and then each hears. */
async function exchange(...nodes: readonly Node[]): Promise<void> {
  for (let i = 0; i < 2; i++) for (const { sharing } of nodes) await sharing.step()
}
const came = ({ returns }: Node, i = 0, net = NET) => returns.came(net, letter(i))

test('what one node has put off comes back at another, and is used up at both', async () => {
  const [a, b] = await two()
  a.returns.note(NET, a.returns.keysOf(NET, letter()))
  await exchange(a, b)
  expect(came(b)).toBe('first')
  now += 61_000
  expect([came(a), came(b), came(b, 0, 'elsewhere')]).toEqual(['back', 'back', 'elsewhere'])
  b.returns.spend(NET, letter())
  await exchange(a, b)
  expect([came(a), came(b)]).toEqual(['first', 'first'])
  // What it hears of itself again changes nothing.
  b.returns.note(NET, b.returns.keysOf(NET, letter()))
  await exchange(a, b)
  now += 61_000
  expect([came(a), came(b)]).toEqual(['back', 'back'])
})

test('it is shared each second, in one command for what was put off and one for what is heard', async () => {
  const [a, b] = await two()
  await exchange(a, b)
  const before = [a.count, b.count]
  for (let i = 0; i < 100; i++) a.returns.note(NET, a.returns.keysOf(NET, letter(i)))
  await exchange(a, b)
  expect([a.count, b.count].map((count, i) => count - before[i]!)).toEqual([3, 2])
  a.sharing.start()
  b.sharing.start()
  ends.push(
    () => a.sharing.stop(),
    () => b.sharing.stop(),
  )
  a.returns.note(NET, a.returns.keysOf(NET, letter(100)))
  now += 61_000
  await eventually(
    () => came(b, 100),
    (how) => how === 'back',
    5000,
  )
})

test('ten minutes end, and nothing is missed', async () => {
  const [a, b] = await two()
  await exchange(a, b)
  now = BEGIN + SLICE_MS - 1
  a.returns.note(NET, a.returns.keysOf(NET, letter(1)))
  // The clock of the other node is a second ahead; this one writes last to what has ended.
  now += 1000
  await b.sharing.step()
  now -= 1000
  await a.sharing.step()
  now += 1000
  a.returns.note(NET, a.returns.keysOf(NET, letter(2)))
  await exchange(a, b)
  now += 10_000
  await exchange(a, b)
  now += 61_000
  expect([came(b, 1), came(b, 2)]).toEqual(['back', 'back'])
})

test('a node that starts hears of the last hour, in pieces', async () => {
  const [a, , redis] = await two()
  const sent = 8000
  for (let i = 0; i < sent; i++) a.returns.note(`net ${i}`, a.returns.keysOf(`net ${i}`, letter(i)))
  await a.sharing.step()
  now += 6 * SLICE_MS
  const c = await begin(urlOf(redis))
  await c.sharing.step()
  for (const i of [0, 7000, sent - 1]) expect(came(c, i, `net ${i}`)).toBe('back')
  expect(await redis.call('KEYS', '*')).toMatch(/^spillway:returns:[0-9a-f]{12}:3000000\s*$/)
})

test('a string has room for 1.2 million messages, and expires', async () => {
  const [a, , redis] = await two()
  a.returns.note(NET, a.returns.keysOf(NET, letter(1)))
  await a.sharing.step()
  const key = (await redis.call('KEYS', '*')).trim()
  const ttl = Number(await redis.call('PTTL', key))
  expect(ttl).toBeGreaterThan(4_100_000)
  expect(ttl).toBeLessThanOrEqual(4_200_000)
  await redis.call('SETRANGE', key, String(MOST_OF_SLICE - 3 * RECORD), 'x'.repeat(RECORD))
  for (const i of [2, 3, 4]) {
    a.returns.note(NET, a.returns.keysOf(NET, letter(i)))
    await a.sharing.step()
  }
  expect(await redis.call('STRLEN', key)).toContain(String(MOST_OF_SLICE))
})

test('while Redis is away each node goes on alone, and what comes later is shared', async () => {
  const [a, b, redis] = await two()
  a.up = undefined
  a.returns.note(NET, a.returns.keysOf(NET, letter(1)))
  await exchange(a, b)
  expect([a.count, a.warnings]).toEqual([0, []])
  now += 61_000
  expect([came(a, 1), came(b, 1)]).toEqual(['back', 'first'])
  a.up = 2
  await redis.call('FLUSHALL')
  a.returns.note(NET, a.returns.keysOf(NET, letter(2)))
  await exchange(a, b)
  now += 61_000
  expect([came(b, 1), came(b, 2)]).toEqual(['back', 'back'])
})

test('a Redis that came back empty is read from its beginning', async () => {
  const [a, b, redis] = await two()
  for (let i = 0; i < 10; i++) a.returns.note(NET, a.returns.keysOf(NET, letter(i)))
  await exchange(a, b)
  await redis.call('FLUSHALL')
  for (const node of [a, b]) node.up = 2
  a.returns.note(NET, a.returns.keysOf(NET, letter(20)))
  await exchange(a, b)
  now += 61_000
  expect([came(b, 9), came(b, 20)]).toEqual(['back', 'back'])
})

test('nodes with another secret have nothing in common, and one that adopts it hears all', async () => {
  const [a, b] = await two()
  a.returns.note(NET, a.returns.keysOf(NET, letter()))
  await a.sharing.step()
  now += SLICE_MS
  secret = 'other'
  await b.sharing.step()
  expect(came(b)).toBe('first')
  secret = 's'
  await b.sharing.step()
  expect(came(b)).toBe('back')
})

describe('what is no message', () => {
  test('is logged once an hour, and nothing else comes of it', async () => {
    const [a, , redis] = await two()
    a.returns.note(NET, a.returns.keysOf(NET, letter()))
    await redis.call('LPUSH', `spillway:returns:${a.returns.fingerprint}:3000000`, 'x')
    for (let i = 0; i < 3; i++) {
      await a.sharing.step()
      a.returns.note(NET, a.returns.keysOf(NET, letter(i)))
    }
    expect(a.warnings).toEqual([expect.stringContaining('WRONGTYPE')])
    now += 61_000
    expect(came(a)).toBe('back')
  })

  test('in a string is read as far as it goes', async () => {
    const [a, b, redis] = await two()
    await redis.call('SET', `spillway:returns:${a.returns.fingerprint}:3000000`, 'x'.repeat(999))
    await exchange(a, b)
    await exchange(a, b)
    expect(a.warnings).toEqual([])
  })
})

test('a Redis Cluster', async () => {
  const cluster = await startRedisCluster()
  ends.push(() => cluster.stop())
  const [a, b] = [await begin(cluster.url), await begin(cluster.url)]
  for (let i = 0; i < 5; i++) {
    a.returns.note(NET, a.returns.keysOf(NET, letter(i)))
    await a.sharing.step()
    now += SLICE_MS
  }
  await b.sharing.step()
  expect([0, 1, 2, 3, 4].map((i) => came(b, i))).toEqual(new Array(5).fill('back'))
  expect([a.warnings, b.warnings]).toEqual([[], []])
})

test('the user of docs/redis.md may do what is needed', async () => {
  const page = readFileSync(resolve(import.meta.dirname, '../../docs/redis.md'), 'utf8')
  const [, rule = ''] = /^user (spillway on >PASSWORD .*)$/m.exec(page) ?? []
  const redis = await server()
  await redis.call('ACL', 'SETUSER', ...rule.split(' '))
  const url = `redis://spillway:PASSWORD@127.0.0.1:${redis.port}`
  const [a, b] = [await begin(url), await begin(url)]
  a.returns.note(NET, a.returns.keysOf(NET, letter()))
  await exchange(a, b)
  now += 61_000
  expect([came(b), a.warnings, b.warnings]).toEqual(['back', [], []])
})
