/** Sessions kept in a real Redis: their bounds, what lets a user do it, a cluster, and nonsense that somebody else has written. */
import { expect, test } from '@jest/globals'
import { digitsOfTime } from '../../src/core/id.ts'
import { parseNetwork } from '../../src/core/ip.ts'
import type { KeptSession } from '../../src/core/kept-session.ts'
import { keyOfSource, keysOfNetwork, MOST_OCTETS, sessionIn, textOfSession } from '../../src/state/kept-session-text.ts'
import { KeptSessions, type KeptSessionsOptions } from '../../src/state/kept-sessions.ts'
import { connectRedis } from '../../src/state/redis.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { startRedis, startRedisCluster } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { stoppedAfterEach } from '../support/started.ts'
import { addressOf } from './shared-nodes.ts'

const started = stoppedAfterEach()
const DAY_MS = 86_400_000
const silent = { debug() {}, info() {}, warn() {}, error() {}, flush() {} } as unknown as Log
let made = 0

function session(at: number, fields: Partial<KeptSession> = {}): KeptSession {
  const id = `${digitsOfTime(at)}0R${String(made++ % 1000).padStart(3, '0')}`
  return {
    ...{ id, host: 'mx1.example.org', ip: `192.0.2.${made % 250}`, standing: 'known', stage: 'rcpt', sample: 1 },
    refusal: { reason: 'ip_messages', code: 450, facts: { used: 301, max: 300, windowMs: 60_000 } },
    ...{ helo: 'mail.sender.example', from: '***@sender.example', fromHmac: undefined },
    ...{ rcpts: [{ to: '***@ours.example', code: 450 }], rcptCount: 1, messages: [] },
    ...{ refusedBy: undefined, observe: [], ...fields },
  }
}

async function keeping(url: string, more: Partial<KeptSessionsOptions> = {}): Promise<KeptSessions> {
  const link = connectRedis({ address: addressOf(url), timeoutMs: 1000, log: silent })
  started.atEnd(() => link.close())
  await eventually(() => link.connected(), Boolean)
  return new KeptSessions({
    ...{ client: link.client, prefix: 'spillway:', upSince: () => 1, watched: (_, answer) => answer, log: silent },
    ...{ now: Date.now, elapsed: () => performance.now(), nodes: () => 1, most: () => 100 },
    ...{ senderKeys: () => ({ log: undefined, agreed: 'secret' }), ...more },
  })
}
const redisOf = async () => {
  const redis = await startRedis()
  started.atEnd(() => redis.stop())
  return { redis, url: `redis://127.0.0.1:${redis.port}` }
}

test('each kind has its part of the room, the oldest go first, and what is older than seven days goes', async () => {
  const { redis, url } = await redisOf()
  const kept = await keeping(url)
  const now = Date.now()
  const old = session(now - 8 * DAY_MS)
  kept.note('known', old, 'old@b.example')
  await kept.step()
  expect(await kept.find({ id: old.id }, 9)).toEqual([])
  const first = session(now - 3 * DAY_MS)
  const later = session(now - 2 * DAY_MS, { ip: '203.0.113.7' })
  kept.note('known', first, 'a@b.example')
  kept.note('seen', later, 'a@b.example')
  await kept.step()
  expect(await kept.find({ sender: 'a@b.example' }, 9)).toEqual([later, first])
  // Told again, it is there once.
  kept.note('known', first, 'a@b.example')
  await kept.step()
  expect(await kept.find({ sender: 'a@b.example' }, 9)).toHaveLength(2)
  for (let i = 0; i < 100; i++) kept.note('known', session(now - i * 1000), 'c@d.example')
  await kept.step()
  await kept.step()
  expect(await redis.call('hlen', 'spillway:sessions:{known}')).toBe('40')
  // Three ways to find each, and no more.
  expect(await redis.call('zcard', 'spillway:sessions:{known}:found')).toBe('120')
  expect(await kept.find({ sender: 'a@b.example' }, 9)).toEqual([later])
  expect(await kept.find({ network: parseNetwork('203.0.113.0/24') }, 9)).toEqual([later])
  expect(await kept.find({ source: '203.0.113.7' }, 9)).toEqual([later])
  for (const key of ['spillway:sessions:{known}', 'spillway:sessions:{known}:found'])
    expect(Number(await redis.call('pttl', key))).toBeGreaterThan(6.9 * DAY_MS)
})

test('forty processes together write no more than one', async () => {
  const { redis, url } = await redisOf()
  const kept = await keeping(url, { nodes: () => 40, most: () => 1000 })
  for (const kind of ['sampled', 'known'] as const)
    for (let i = 0; i < 30; i++) kept.note(kind, session(Date.now()), undefined)
  for (let second = 0; second < 10; second++) await kept.step()
  const written = async (kind: string) => Number(await redis.call('hlen', `spillway:sessions:{${kind}}`))
  // In ten seconds a fortieth of 80, and of 640, with what was left of the second before.
  expect(Math.abs((await written('sampled')) - 2)).toBeLessThanOrEqual(1)
  expect(Math.abs((await written('known')) - 16)).toBeLessThanOrEqual(1)
})

test('a node writes no more in a second than its part, keeps what is due in bounds, and loses no weight', async () => {
  const { redis, url } = await redisOf()
  const kept = await keeping(url, { nodes: () => 4, most: () => 100_000 })
  for (let i = 0; i < 5000; i++) kept.note('sampled', session(Date.now()), undefined)
  await kept.step()
  expect(await redis.call('hlen', 'spillway:sessions:{sampled}')).toBe('2')
  await kept.stop()
  const all = (await redis.call('hvals', 'spillway:sessions:{sampled}'))
    .split('\n')
    .flatMap((text) => sessionIn(text) ?? [])
  expect(all).toHaveLength(64)
  expect(all.reduce((sum, { sample }) => sum + sample, 0)).toBe(5000)
})

test('a user with the commands of docs/redis.md may do it, and a cluster has each kind in one slot', async () => {
  const { redis, url } = await redisOf()
  const { readFileSync } = await import('node:fs')
  const [, rights = ''] = /user spillway on >PASSWORD (.*)/.exec(readFileSync('docs/redis.md', 'utf8')) ?? []
  await redis.call('acl', 'setuser', 'spillway', 'on', '>secret', ...rights.split(' '))
  const cluster = await startRedisCluster()
  started.atEnd(() => cluster.stop())
  for (const address of [url.replace('//', '//spillway:secret@'), cluster.url]) {
    const kept = await keeping(address)
    const one = session(Date.now())
    for (const kind of ['known', 'seen', 'plausible', 'sampled', 'served'] as const) kept.note(kind, one, 'a@b.example')
    await kept.step()
    expect(await kept.find({ id: one.id }, 9)).toEqual([one])
    expect(await kept.find({ sender: 'a@b.example' }, 9)).toEqual([one])
  }
})

test('what somebody else has written in Redis is shown escaped, or not at all', async () => {
  const { redis, url } = await redisOf()
  const kept = await keeping(url)
  const one = session(Date.now())
  kept.note('known', one, undefined)
  await kept.step()
  const write = (text: string) => redis.call('hset', 'spillway:sessions:{known}', one.id, text)
  await write(
    `a - ${JSON.stringify({ ...one, helo: `\u001b[2J\u202e${'x'.repeat(400)}`, host: 7, sample: -1, rcpts: 'no' })}`,
  )
  const [read] = await kept.find({ id: one.id }, 9)
  expect(read).toMatchObject({ host: 'unknown', sample: 1, rcpts: [] })
  expect(read?.helo).toMatch(/^\\u001b\[2J\\u202ex+$/)
  expect(read?.helo?.length).toBeLessThanOrEqual(160)
  for (const nonsense of ['', '{}', 'a - {', `a - ${JSON.stringify({ ...one, ip: 'x' })}`, 'x'.repeat(5000)]) {
    await write(nonsense)
    expect(await kept.find({ id: one.id }, 9)).toEqual([])
  }
  await redis.call('set', 'spillway:sessions:{known}:found', 'x')
  await expect(kept.find({ id: one.id }, 9)).rejects.toThrow('WRONGTYPE')
})

test('whatever a client says, a session has at most 1,024 octets', () => {
  const long = '\u4e2d'.repeat(160)
  const worst = session(Date.now(), {
    ...{ host: 'h'.repeat(255), helo: long, from: long, fromHmac: '0'.repeat(16), ip: '2001:db8:1:2:3:4:5:6' },
    rcpts: Array.from({ length: 3 }, () => ({ to: long, toHmac: '0'.repeat(16), code: 450 })),
    messages: Array.from({ length: 3 }, () => ({ result: 'rejected', reply: long })),
    refusedBy: { upstream: 'u'.repeat(255), reply: long },
  })
  const text = textOfSession(worst, `k${'0'.repeat(16)}`)
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(MOST_OCTETS)
  expect(sessionIn(text)).toMatchObject({ id: worst.id, ip: worst.ip, refusal: { reason: 'ip_messages' } })
})

test.each([
  ['192.0.2.0/23', '192.0.2.0', '192.0.3.255'],
  ['192.0.2.128/25', '192.0.2.128', '192.0.2.255'],
  ['2001:db8::/47', '2001:db8::', '2001:db8:1:ffff:ffff::'],
])('%s is from %s to %s', (network, first, last) => {
  expect(keysOfNetwork(parseNetwork(network))).toEqual([keyOfSource(first), keyOfSource(last)])
})
