/** Bans of several nodes with one real Redis: they reach all of them, survive a restart and an empty Redis, and nonsense harms nobody. */
import { expect, test } from '@jest/globals'
import type { Ban } from '../../src/core/bans.ts'
import { Bans } from '../../src/state/bans.ts'
import { BansSharing, EVERY_MS, MOST_IN_REDIS } from '../../src/state/bans-sharing.ts'
import type { RedisClient } from '../../src/state/redis.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { startPair } from '../support/pair.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
const IP = '203.0.113.7'
const KEY = 'spillway:{bans}'

const greeting = async (app: TestApp, ip = IP): Promise<string> => (await app.clientAs(ip)).reply()
const hears = (app: TestApp, begins: string, ip = IP): Promise<string> =>
  eventually(
    () => greeting(app, ip),
    (reply) => reply.startsWith(begins),
  )
const prove = async (app: TestApp, ip = IP): Promise<void> => {
  for (let i = 0; i < 2; i++) {
    const client = await app.clientAs(ip)
    await client.reply()
    await client.command('GET / HTTP/1.1')
    await client.closed()
  }
}
const failures = (app: TestApp) => app.metric('spillway_redis_commands_total{use="bans",result="failed"}')
/** A step of the sharing that begins after now has ended. */
const steps = async (app: TestApp): Promise<void> => {
  const count = async () => (await app.metric('spillway_redis_commands_total{use="bans",result="ok"}')) ?? 0
  const before = await count()
  await eventually(count, (now) => now >= before + 2)
}

test('a ban and its end reach every node, whoever makes them, and a node that starts', async () => {
  const { a, b, another } = await startPair(started, { BAN_AFTER: '10', TONGUE: 'defer' })
  expect(2 * EVERY_MS).toBeLessThan(2000)
  await prove(a)
  expect(await greeting(a)).toMatch(/^421 4\.7\.0/)
  expect(await hears(b, '421 4.7.0')).toContain('banned')
  b.running.bans.add({ network: '203.0.114.0/24', reason: 'harvest' })
  await hears(a, '554 5.7.1', '203.0.114.9')
  const c = await another()
  expect(await greeting(c)).toMatch(/^421 4\.7\.0/)
  expect(await greeting(c, '203.0.114.9')).toMatch(/^554/)
  // Each is the same everywhere, to the millisecond.
  const [ofA, ofB, ofC] = [a, b, c].map(({ running }) => [...running.bans.list()].sort((x, y) => x.since - y.since))
  expect(ofB).toEqual(ofA)
  expect(ofC).toEqual(ofA)
  c.running.bans.remove(IP)
  for (const app of [a, b]) await hears(app, '220')
  // The pardon is there as well: what a node has proved does not count for a day.
  await prove(b)
  expect(await greeting(b)).toMatch(/^220/)
  b.running.bans.remove('203.0.114.0/24')
  await hears(a, '220', '203.0.114.9')
  for (const app of [a, b, c]) expect(await failures(app)).toBe(0)
})

test('what the operator allows reaches every node, wins over bans, and ends everywhere', async () => {
  const { a, b, another } = await startPair(started, { DENY: IP })
  a.running.bans.add({ network: '203.0.113.0/24' })
  await hears(b, '554')
  // Of the same network: neither takes the other's place.
  const network = '203.0.113.0/24'
  expect(a.running.bans.allowed.add({ network, reason: 'a customer' })).toMatchObject({ kind: 'allow' })
  expect(await greeting(a)).toMatch(/^220/)
  await hears(b, '220')
  const c = await another()
  expect(await greeting(c)).toMatch(/^220/)
  expect(c.running.bans.allowed.latest(9)).toMatchObject({
    total: 1,
    bans: [{ network, reason: 'a customer' }],
  })
  c.running.bans.allowed.remove(network)
  // The ban of the network was there all the while.
  for (const app of [a, b]) await hears(app, '554')
  const d = await another()
  expect(await greeting(d)).toMatch(/^554/)
  expect(d.running.bans.latest(9)).toMatchObject({ total: 1 })
  for (const app of [a, b, c, d]) expect(await failures(app)).toBe(0)
})

test('more bans than are told at a time reach the others, each once', async () => {
  const { a, b } = await startPair(started)
  for (let i = 0; i < 600; i++) a.running.bans.add({ network: `45.${Math.floor(i / 250)}.${i % 250}.0/24` })
  await eventually(
    () => b.running.bans.list().length,
    (count) => count === 600,
  )
  await steps(b)
  // Nothing is new: a step takes one question.
  const asked = async () => (await b.metric('spillway_redis_commands_total{use="bans",result="ok"}')) ?? 0
  const before = await asked()
  await eventually(asked, (count) => count > before)
  expect(await asked()).toBeLessThanOrEqual(before + 2)
})

test('a Redis that comes back empty is filled with what the nodes remember; without Redis each goes on', async () => {
  const { a, b, redis, another } = await startPair(started, { BAN_AFTER: '10', TONGUE: 'defer' })
  await prove(a)
  await hears(b, '421')
  await redis.kill()
  // Made while it is away.
  a.running.bans.add({ network: '203.0.115.0/24' })
  expect(await greeting(a, '203.0.115.1')).toMatch(/^554/)
  expect(await greeting(b)).toMatch(/^421 4\.7\.0/)
  await redis.restart()
  await hears(b, '554', '203.0.115.1')
  await eventually(
    () => redis.call('hlen', KEY),
    (fields) => Number(fields) === 2,
  )
  const c = await another()
  expect(await greeting(c)).toMatch(/^421 4\.7\.0/)
})

test('nonsense in Redis bans nobody, and stops nothing', async () => {
  const { a, b, redis } = await startPair(started)
  a.running.bans.add({ network: '203.0.115.0/24' })
  await hears(b, '554', '203.0.115.1')
  const at = Date.now()
  const entry = (more: Partial<Ban> | object): string =>
    `${at} ${at + 1e9} ${JSON.stringify({ network: '203.0.113.0/24', kind: 'ban', by: 'operator', reason: '', since: at, until: at + 1e7, before: 0, ...more })}`
  const nonsense = ['', 'x', '1 2 {', entry({ network: '0.0.0.0/0' }), entry({ until: at + 1e13 }), entry({ by: 'x' })]
  let seq = 100
  for (const [i, text] of nonsense.entries()) {
    await redis.call('hset', KEY, `operator nonsense${i}`, text)
    await redis.call('zadd', `${KEY}:changes`, String(++seq), `operator nonsense${i}`)
  }
  await redis.call('hset', KEY, 'operator sound', entry({}))
  await redis.call('zadd', `${KEY}:changes`, String(++seq), 'operator sound')
  await hears(b, '554')
  expect(await greeting(b, '45.1.2.3')).toMatch(/^220/)
  // Of another type, and a name and a number that are none.
  await redis.call('hset', `${KEY}:about`, 'name', 'no name', 'seq', 'no number')
  expect(await b.waitForLog(({ msg }) => msg === 'bans are not shared over Redis')).toMatchObject({ level: 'warn' })
  await redis.call('del', KEY, `${KEY}:changes`, `${KEY}:about`)
  await redis.call('set', KEY, 'a text')
  await redis.call('set', `${KEY}:about`, 'a text')
  await eventually(
    () => failures(b),
    (count) => (count ?? 0) > 0,
  )
  expect(await greeting(b)).toMatch(/^554/)
  expect(await greeting(b, '45.1.2.3')).toMatch(/^220/)
  expect(b.log().filter(({ msg }) => msg === 'bans are not shared over Redis')).toHaveLength(1)
  await redis.call('del', KEY, `${KEY}:about`)
  await steps(b)
  b.running.bans.add({ network: '203.0.116.0/24' })
  await hears(a, '554', '203.0.116.1')
})

test('what is over and forgotten is removed from Redis, and the keys expire', async () => {
  const { a, redis } = await startPair(started)
  const old = { network: '203.0.113.1/32', kind: 'ban', by: 'operator', reason: '', since: 1, until: 2, before: 0 }
  await redis.call('hset', KEY, 'operator 203.0.113.1/32', `1 2 ${JSON.stringify(old)}`)
  await redis.call('zadd', `${KEY}:changes`, '1', 'operator 203.0.113.1/32')
  a.running.bans.add({ network: '203.0.115.0/24' })
  await eventually(
    () => redis.call('hkeys', KEY),
    (keys) => keys.trim() === 'operator 203.0.115.0/24',
  )
  expect((await redis.call('zrange', `${KEY}:changes`, '0', '-1')).trim()).toBe('operator 203.0.115.0/24')
  for (const key of [KEY, `${KEY}:changes`, `${KEY}:about`]) {
    expect(Number(await redis.call('pttl', key))).toBeGreaterThan(365 * 86_400_000)
  }
})

test('a Redis that has lost its latest changes hears them again, and no later one is missed', async () => {
  const { a, b, redis, another } = await startPair(started)
  for (const third of [113, 114, 115]) a.running.bans.add({ network: `203.0.${third}.0/24` })
  await hears(b, '554', '203.0.115.1')
  // As a replica that takes over, and was behind.
  const behind = `
    for _, third in ipairs({114, 115}) do
      redis.call('HDEL', KEYS[1], 'operator 203.0.' .. third .. '.0/24')
      redis.call('ZREM', KEYS[2], 'operator 203.0.' .. third .. '.0/24')
    end
    redis.call('HSET', KEYS[3], 'seq', 1)`
  await redis.call('eval', behind, '3', KEY, `${KEY}:changes`, `${KEY}:about`)
  a.running.bans.add({ network: '203.0.116.0/24' })
  await hears(b, '554', '203.0.116.1')
  await eventually(
    () => redis.call('hlen', KEY),
    (fields) => Number(fields) === 4,
  )
  expect((await another()).running.bans.list()).toHaveLength(4)
  // What numbers the changes is gone, and the changes are there.
  await redis.call('del', `${KEY}:about`)
  for (const third of [117, 118]) {
    a.running.bans.add({ network: `203.0.${third}.0/24` })
    await hears(b, '554', `203.0.${third}.1`)
  }
})

test('what a Redis has lost and numbered anew is heard when it comes back', async () => {
  const { a, b, redis } = await startPair(started)
  for (const third of [113, 114]) a.running.bans.add({ network: `203.0.${third}.0/24` })
  await hears(b, '554', '203.0.114.1')
  const at = Date.now()
  const network = '203.0.115.0/24'
  const made = { network, kind: 'ban', by: 'operator', reason: '', since: at, until: at + 1e7, before: 0 }
  const behind = `
    redis.call('HDEL', KEYS[1], 'operator 203.0.114.0/24')
    redis.call('ZREM', KEYS[2], 'operator 203.0.114.0/24')
    redis.call('HSET', KEYS[1], 'operator ${network}', ARGV[1])
    redis.call('ZADD', KEYS[2], 2, 'operator ${network}')`
  const keys = [KEY, `${KEY}:changes`, `${KEY}:about`]
  await redis.call('eval', behind, '3', ...keys, `${at} ${at + 1e9} ${JSON.stringify(made)}`)
  await redis.call('client', 'kill', 'type', 'normal')
  for (const app of [a, b]) await hears(app, '554', '203.0.115.1')
  await eventually(
    () => redis.call('hlen', KEY),
    (fields) => Number(fields) === 3,
  )
})

test("the operator's words reach every node when bots have filled Redis with bans that came by themselves", async () => {
  const { a, b, redis } = await startPair(started)
  const full = `
    for i = 1, ${MOST_IN_REDIS} do redis.call('HSET', KEYS[1], 'automatic ' .. i, '1 9999999999999 {}') end`
  await redis.call('eval', full, '1', KEY)
  a.running.bans.add({ network: '203.0.113.0/24' })
  await hears(b, '554')
  expect(Number(await redis.call('hlen', KEY))).toBe(MOST_IN_REDIS + 1)
})

test('bans that never end are heard no further than there may be any', async () => {
  let asked = 0
  const client = {
    eval: () => Promise.resolve(asked++ > 1000 ? ['ab', '9'] : ['ab', String(asked), ...Array(250).fill('')]),
  } as unknown as RedisClient
  const sharing = new BansSharing({
    ...{ bans: new Bans({ now: () => 0 }), client, prefix: '', upSince: () => 1, now: () => 0 },
    ...{ watched: (_, promise) => promise, elapsed: () => 0, log: {} as Log },
  })
  await sharing.step()
  expect(asked).toBeLessThan(500)
})
