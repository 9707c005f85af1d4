/** What is normal in an hour of the week outlives a node: in a real Redis, and in a file. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { connectRedis, type RedisLink } from '../../src/state/redis.ts'
import { WeekFile } from '../../src/state/week-file.ts'
import { WeekSharing } from '../../src/state/week-sharing.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { HOURS, Week } from '../../src/telemetry/traffic/week.ts'
import { hourIn, textOfHour } from '../../src/telemetry/traffic/week-text.ts'
import { type RedisServer, startRedis, startRedisCluster } from '../services/redis.ts'
import { eventually, startApp } from '../support/app.ts'
import { addressOf } from './shared-nodes.ts'

const HOUR = 3_600_000
const NOW = Date.now()
const THIS = Math.floor(NOW / HOUR)
/** So many hours ago. An app asks for its own hour, which may be the next one by then: what one is to know is known of both. */
const learnt = (ago: number, connections: number, isDoubtful = false) => ({
  ...{ hour: THIS - ago, connections, senders: connections / 2, messages: connections / 4, isDoubtful },
})
const weekOf = (...hours: ReturnType<typeof learnt>[]): Week => {
  const week = new Week()
  for (const each of hours) week.hear(each, NOW)
  return week
}
const told: string[] = []
const at =
  (level: string) =>
  (fields: object, msg: string): void =>
    void told.push(`${level}: ${msg} ${JSON.stringify(fields)}`)
const LOG: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), flush: () => undefined }
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  told.length = 0
})

test('an hour is read as it was written, and nothing else is', () => {
  for (const each of [learnt(1, 100), learnt(9, 0.5, true)]) expect(hourIn(textOfHour(each))).toEqual(each)
  expect(hourIn(textOfHour(learnt(3, 2e12)))?.connections).toBe(999_999_999)
  // Of four workers each has a quarter.
  expect(hourIn(textOfHour(learnt(1, 10), 4), 4)).toEqual(learnt(1, 10))
  const long = `1 2 3 ${'4'.repeat(9)}`
  for (const bad of [
    '',
    '1 2 3',
    '-1 2 3 4',
    '1 2 3 1e9',
    '1 2 3 NaN',
    '1 2 3 4 5',
    `${long}4`,
    ` ${long}`,
    '1 2 3 4 ?\n',
  ])
    expect([bad, hourIn(bad)]).toEqual([bad, undefined])
})

test('of two that tell of the same hour of the week the later counts, and neither the future nor what is old', () => {
  const week = weekOf(learnt(1, 10), learnt(1 + HOURS, 20), learnt(2 + HOURS, 30), learnt(2, 40))
  expect(
    week
      .all()
      .map(({ connections }) => connections)
      .sort(),
  ).toEqual([10, 40])
  expect(weekOf(learnt(0, 5), learnt(-7, 5), learnt(5 * HOURS, 5)).all()).toEqual([])
})

describe('in Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  interface Kept {
    readonly week: Week
    readonly sharing: WeekSharing
    up: number | undefined
    elapsed: number
    commands: number
  }
  async function keep(
    week: Week,
    more: Partial<{ name: string; workers: number; isWriter: boolean; url: string }> = {},
  ) {
    const { name = 'mx1.example', workers = 1, isWriter = true, url = `redis://127.0.0.1:${redis.port}` } = more
    const link: RedisLink = connectRedis({ address: addressOf(url), timeoutMs: 1000, log: LOG })
    await eventually(
      () => link.connected(),
      (is) => is,
    )
    const kept: Kept = {
      ...{ week, up: 1, elapsed: 0, commands: 0 },
      sharing: new WeekSharing({
        ...{ client: link.client, prefix: 'test:', name, week, workers, isWriter, now: () => NOW, log: LOG },
        ...{ upSince: () => kept.up, elapsed: () => kept.elapsed },
        watched: (_, answer) => {
          kept.commands++
          return answer
        },
      }),
    }
    ends.push(() => link.close())
    return kept
  }

  test('a node that starts knows what it knew; one of another name does not', async () => {
    const before = await keep(weekOf(learnt(1, 100), learnt(2, 300, true)))
    await before.sharing.step()
    const after = await keep(new Week())
    await after.sharing.step()
    expect(after.week.all()).toEqual(before.week.all())
    const other = await keep(new Week(), { name: 'mx2.example' })
    await other.sharing.step()
    expect(other.week.all()).toEqual([])
    expect(Number(await redis.call('PTTL', 'test:week:mx1.example'))).toBeGreaterThan(34 * 24 * HOUR)
  })

  test('nothing is asked again while nothing is new, and a Redis that came back empty is told all of it', async () => {
    const node = await keep(weekOf(learnt(1, 100)), { name: 'mx3.example' })
    for (let i = 0; i < 5; i++) await node.sharing.step()
    expect(node.commands).toBe(2)
    await redis.call('DEL', 'test:week:mx3.example')
    node.up = 2
    await node.sharing.step()
    expect(await redis.call('HLEN', 'test:week:mx3.example')).toBe('1')
  })

  test('of several workers the first one writes of the whole node, and each takes its part', async () => {
    const first = await keep(weekOf(learnt(1, 100)), { name: 'mx4.example', workers: 2 })
    const second = await keep(weekOf(learnt(2, 100)), { name: 'mx4.example', workers: 2, isWriter: false })
    await first.sharing.step()
    await second.sharing.step()
    expect(await redis.call('HLEN', 'test:week:mx4.example')).toBe('1')
    const alone = await keep(new Week(), { name: 'mx4.example' })
    await alone.sharing.step()
    expect(alone.week.all()).toEqual([learnt(1, 200)])
    expect(second.week.all()).toHaveLength(2)
  })

  test('nonsense in Redis teaches nothing, and is asked for no more than once a minute', async () => {
    const key = 'test:week:mx5.example'
    const own = (THIS - 1) % HOURS
    await redis.call('HSET', key, String(own), 'x'.repeat(100_000), String((own + 1) % HOURS), textOfHour(learnt(1, 9)))
    const node = await keep(new Week(), { name: 'mx5.example' })
    await node.sharing.step()
    expect(node.week.all()).toEqual([])
    await redis.call('DEL', key)
    await redis.call('SET', key, 'a string')
    node.up = 2
    for (let i = 0; i < 5; i++) await node.sharing.step()
    expect(node.commands).toBe(2)
    expect(told.filter((line) => line.startsWith('warn'))).toHaveLength(1)
    expect(told.join()).toContain('what is normal in an hour of the week is not kept in Redis')
    node.elapsed = 60_000
    await node.sharing.step()
    expect(node.commands).toBe(3)
  })

  test('a cluster takes it as well', async () => {
    const cluster = await startRedisCluster()
    ends.push(() => cluster.stop())
    const { url } = cluster
    const before = await keep(weekOf(learnt(1, 100)), { url })
    await before.sharing.step()
    const after = await keep(new Week(), { url })
    await after.sharing.step()
    expect(after.week.all()).toEqual([learnt(1, 100)])
  })

  test('two nodes: each has its own after a restart, and the status tells it', async () => {
    const url = `redis://127.0.0.1:${redis.port}`
    const field = (hostname: string, connections: number) =>
      redis.call(
        'HSET',
        `spillway:week:${hostname}`,
        ...[HOURS, HOURS - 1].flatMap((ago) => [String((THIS - ago) % HOURS), textOfHour(learnt(ago, connections))]),
      )
    await field('a.example', 111)
    await field('b.example', 22)
    for (const [HOSTNAME, connections] of [
      ['a.example', 111],
      ['b.example', 22],
    ] as const) {
      const app = await startApp('127.0.0.1:1', { REDIS_URL: url, HOSTNAME })
      ends.push(() => app.stop())
      const normal = await eventually(
        async () => JSON.parse((await app.get('/api/v1/status')).body).traffic.normal,
        (now) => now !== undefined,
      )
      expect(normal).toMatchObject({ basis: 'week', hours: 2, connections })
    }
  })
})

describe('in a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'week-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  let files = 0
  const fresh = (): string => join(folder, `history${files++}`)
  const begin = (historyPath: string, week: Week, now = () => NOW): WeekFile => {
    const file = new WeekFile({ historyPath, week, log: LOG, now })
    file.start()
    ends.push(() => file.stop())
    return file
  }

  test('is written at the stop and read at the start', async () => {
    const path = fresh()
    await begin(path, weekOf(learnt(1, 100), learnt(30, 7.5, true))).stop()
    const week = new Week()
    await begin(path, week).settled
    expect(week.all()).toEqual(expect.arrayContaining([learnt(1, 100), learnt(30, 7.5, true)]))
    expect(readdirSync(folder).filter((name) => name.startsWith('history0'))).toEqual(['history0.week'])
  })

  test('a clock that was ahead and is set stops nothing', async () => {
    const path = fresh()
    const week = weekOf(learnt(30, 7))
    /** A calm hour, this many hours before now, and the first minute of the next one. */
    const pass = (ago: number): void => {
      for (let minute = 0; minute <= 60; minute++)
        week.minute((THIS - ago) * HOUR + minute * 60_000, { connections: 9, senders: 9, messages: 9 }, false)
    }
    const clock = { at: NOW + 51 * HOUR }
    pass(-50)
    await begin(path, week, () => clock.at).stop()
    expect(readFileSync(`${path}.week`, 'latin1')).toContain(String(THIS + 50))
    clock.at = NOW
    pass(1)
    await begin(path, week, () => clock.at).stop()
    const written = new Week()
    await begin(path, written).settled
    expect(
      written
        .all()
        .map(({ hour }) => hour)
        .sort(),
    ).toEqual([THIS - 30, THIS - 1])
    expect(week.all()).toHaveLength(2)
  })

  test('one that was cut off is begun anew, and what is not ours is left alone', async () => {
    const path = fresh()
    await begin(path, weekOf(learnt(1, 100), learnt(2, 50))).stop()
    const text = readFileSync(`${path}.week`, 'latin1')
    for (const cut of [text.slice(0, -9), text.replace(/\n\d[^\n]*/, '')]) {
      writeFileSync(`${path}.week`, cut)
      const week = new Week()
      const file = begin(path, week)
      await file.settled
      expect(week.all()).toEqual([])
      expect(told.at(-1)).toContain('it is not whole')
      week.hear(learnt(1, 3), NOW)
      await file.stop()
      expect(readFileSync(`${path}.week`, 'latin1')).toContain(textOfHour(learnt(1, 3)))
    }
    for (const foreign of ['somebody else\n', 'x'.repeat(100_000)]) {
      writeFileSync(`${path}.week`, foreign)
      await begin(path, weekOf(learnt(1, 100))).stop()
      expect(readFileSync(`${path}.week`, 'latin1')).toBe(foreign)
      expect(told.at(-1)).toMatch(/^warn.*(first line is not|larger than)/)
    }
  })

  test('a node without Redis has it after a restart', async () => {
    const path = fresh()
    await begin(path, weekOf(learnt(HOURS, 77), learnt(HOURS - 1, 77))).stop()
    const app = await startApp('127.0.0.1:1', { HISTORY_FILE: path })
    ends.push(() => app.stop())
    const normal = await eventually(
      async () => JSON.parse((await app.get('/api/v1/status')).body).traffic.normal,
      (now) => now !== undefined,
    )
    expect(normal).toMatchObject({ basis: 'week', connections: 77 })
  })
})
