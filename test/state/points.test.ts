/** What processes tell each other of offenders: the same sum everywhere, exactly one ban, within bounds; over a real Redis, and when it is away. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import type { Client } from '../../src/core/client.ts'
import { netOf, sourceOf } from '../../src/core/ip.ts'
import { Bans } from '../../src/state/bans.ts'
import { OffenceNews, type OffenceTold } from '../../src/state/offence-news.ts'
import { Offences } from '../../src/state/offences.ts'
import { type GivenPoints, HALF_LIFE_MS, LONGEST_MS, MOST_OF_NET, MOST_TOLD, Points } from '../../src/state/points.ts'
import { MOST_OF_SLICE, PointsSharing, RECORD, STRINGS } from '../../src/state/points-sharing.ts'
import {
  MOST_OF_NET as NAMES_OF_NET,
  MOST_TOLD as NAMES_TOLD,
  SharedAddresses,
} from '../../src/state/shared-addresses.ts'
import { AT_ONCE } from '../../src/state/shared-strings.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { startPair } from '../support/pair.ts'
import { stoppedAfterEach } from '../support/started.ts'

const MIN = 60_000
const IP = '203.0.113.7'
const clock = { at: 1_800_000_000_000 }
const now = () => clock.at
beforeEach(() => {
  clock.at = 1_800_000_000_000
})

/** A process that shares points. */
class Process {
  readonly bans = new Bans({ now })
  readonly points = new Points({ now })
  readonly addresses = new SharedAddresses({ now })
  readonly news = new OffenceNews(this.points, this.addresses)
  readonly made: string[] = []
  readonly spared: string[] = []
  readonly offences = new Offences({
    ...{ bans: this.bans, points: this.points, now, after: () => 10, banMs: () => 10 * MIN },
    ...{ addresses: this.addresses, hasGoodNeighbours: () => false, spared: (ip) => void this.spared.push(ip) },
    banned: ({ network }) => void this.made.push(network),
  })
  constructor() {
    this.news.share()
  }
  offend(ip = IP, offence: 'tongue' | 'line_too_long' = 'tongue'): void {
    const client = { ip, source: sourceOf(ip), net: netOf(ip), standing: 'new' } as Client
    this.offences.met(client)
    this.offences.committed(client, offence)
  }
}
/** All hear all, in one order. */
const round = (all: readonly Process[]): void => {
  const told = all.flatMap(({ news }) => news.takeUntold())
  for (const { news } of all) for (const each of told) news.hear(each)
}

test('the sum is the same at every process, in whichever order it was put together, and fades alike', () => {
  const [a, b, c] = [new Process(), new Process(), new Process()]
  a.offend(IP, 'line_too_long')
  const early = a.points.takeUntold()
  clock.at += 7 * MIN
  b.offend(IP, 'line_too_long')
  const late = b.points.takeUntold()
  clock.at += MIN
  for (const each of [...late, ...early]) c.points.hear(each)
  for (const each of late) a.points.hear(each)
  for (const each of early) b.points.hear(each)
  const sum = 2 * 2 ** (-8 / 10) + 2 * 2 ** (-1 / 10)
  for (const { points } of [a, b, c]) expect(points.of(IP)).toBeCloseTo(sum, 9)
  clock.at += HALF_LIFE_MS
  for (const { points } of [a, b, c]) expect(points.of(IP)).toBeCloseTo(sum / 2, 9)
})

describe('exactly one process bans', () => {
  test('where the last points are given when the others are known: at once', () => {
    const all = [new Process(), new Process(), new Process()]
    all[0]!.offend()
    round(all)
    all[1]!.offend()
    expect(all.map(({ made }) => made)).toEqual([[], [`${IP}/32`], []])
  })

  test('where they are given at the same time: when its record comes back', () => {
    const all = [new Process(), new Process(), new Process()]
    for (const each of all) each.offend()
    expect(all.flatMap(({ made }) => made)).toEqual([])
    round(all)
    expect(all.map(({ made }) => made.length).sort()).toEqual([0, 0, 1])
  })

  test('where more is given before the record comes back', () => {
    const [a, b] = [new Process(), new Process()]
    a.offend()
    a.offend(IP, 'line_too_long')
    b.offend(IP, 'line_too_long')
    const told = [a, b].flatMap(({ points }) => points.takeUntold())
    b.offend(IP, 'line_too_long')
    for (const each of told) for (const { points } of [a, b]) points.hear(each)
    expect([a.made, b.made]).toEqual([[], []])
    round([a, b])
    expect([a.made, b.made]).toEqual([[], [`${IP}/32`]])
  })
})

test('what led to a ban counts for nothing afterwards, at any process, whatever is heard first', () => {
  const all = [new Process(), new Process(), new Process()]
  const [a, b, c] = all as [Process, Process, Process]
  a.offend()
  const before = a.points.takeUntold()
  for (const { points } of [a, b]) for (const each of before) points.hear(each)
  clock.at += 1000
  b.offend()
  const [ban] = b.bans.list()
  for (const { bans } of [a, c]) bans.hear(ban!)
  // This one hears of the points after the ban.
  for (const each of before) c.points.hear(each)
  for (const { points } of all) expect(points.of(IP)).toBe(0)
  clock.at = ban!.until
  for (const each of all) each.offend(IP, 'line_too_long')
  expect(all.flatMap(({ made }) => made)).toEqual([`${IP}/32`])
})

describe('an address that several senders share', () => {
  const NAMES = ['a.example', 'b.example', 'c.example']
  const serve = (all: readonly Process[], ip = IP) =>
    all.forEach(({ offences }, i) => void offences.served({ source: sourceOf(ip) }, NAMES[i]!))

  test('shows at every process, wherever its messages came in, and is banned at none', () => {
    const all = [new Process(), new Process(), new Process()]
    serve(all)
    round(all)
    const late = new Process()
    for (let i = 0; i < 3; i++) for (const each of all) each.offend()
    round([...all, late])
    expect(all.map(({ made, spared }) => [made, spared.length])).toEqual([
      [[], 3],
      [[], 3],
      [[], 3],
    ])
    // A day later nothing is left of it.
    clock.at += 24 * 60 * MIN
    for (let i = 0; i < 2; i++) all[0]!.offend()
    expect(all[0]!.made).toEqual([`${IP}/32`])
  })

  test('is not banned for what was given before it showed', () => {
    const [a, b] = [new Process(), new Process()]
    a.offend()
    b.offend()
    NAMES.forEach((name) => void b.offences.served({ source: IP }, name))
    round([a, b])
    expect([a.made, b.made]).toEqual([[], []])
    expect([...a.spared, ...b.spared]).toEqual([IP])
  })

  test('is told once for each name and six hours, and of more names than three there is no news', () => {
    const [a, b] = [new Process(), new Process()]
    for (let i = 0; i < 100; i++) a.offences.served({ source: IP }, `${i % 7}.example`)
    const told = a.news.takeUntold()
    expect(told).toHaveLength(3)
    for (const each of told) b.news.hear(each)
    for (const name of ['0.example', '9.example']) b.offences.served({ source: IP }, name)
    expect(b.news.takeUntold()).toEqual([])
    clock.at += 6 * 60 * MIN
    b.offences.served({ source: IP }, '0.example')
    expect(b.news.takeUntold()).toHaveLength(1)
  })

  test('is told within bounds, for a network and in all', () => {
    const { offences, news } = new Process()
    const names = (source: string) => NAMES.forEach((name) => void offences.served({ source }, name))
    for (let i = 0; i < 200; i++) names(`198.51.100.${i}`)
    expect(news.takeUntold()).toHaveLength(NAMES_OF_NET)
    for (let i = 0; i < 2 * NAMES_TOLD; i++) names(`45.${i >> 8}.${i & 255}.1`)
    expect(news.takeUntold()).toHaveLength(NAMES_TOLD)
  })
})

describe('what is told', () => {
  test('is one record for a source and a second, and what is heard twice counts once', () => {
    const [a, b] = [new Process(), new Process()]
    for (let i = 0; i < 4; i++) a.offend(IP, 'line_too_long')
    const told = a.points.takeUntold()
    expect(told).toHaveLength(1)
    for (let i = 0; i < 3; i++) for (const each of told) b.points.hear(each)
    expect(b.points.of(IP)).toBe(8)
    expect(a.points.takeUntold()).toEqual([])
  })

  test('is bounded for a network and in all, and begins anew with the next second', () => {
    const a = new Process()
    for (let i = 0; i < 200; i++) a.offend(`198.51.100.${i}`)
    for (let i = 0; i < 200; i++) a.offend(`2001:db8:1:${i}::1`)
    expect(a.points.takeUntold()).toHaveLength(2 * MOST_OF_NET)
    a.offend('198.51.100.250')
    expect(a.points.takeUntold()).toHaveLength(1)
    for (let i = 0; i < 2 * MOST_TOLD; i++) a.offend(`45.${i >> 8}.${i & 255}.1`)
    expect(a.points.takeUntold()).toHaveLength(MOST_TOLD)
    // Here they count all the same.
    expect(a.points.of('198.51.100.199')).toBe(5)
  })

  test('is read as it was written', () => {
    const all: OffenceTold[] = [
      { teller: 0xffff_ffff, number: 1, source: IP, points: 5, offence: 'tongue', at: clock.at },
      {
        ...{ teller: 1, number: 0xffff_fffe, source: '2001:db8:1:2::/64', points: 8.5 },
        ...{ offence: 'net_unknown_recipients' as const, at: clock.at },
      },
      { teller: 2, number: 3, source: '255.255.255.255', points: 3, offence: 'pipelining', at: clock.at },
      { teller: 2, number: 4, source: 'fe80::/64', points: 3, offence: 'pipelining', at: clock.at },
      { source: IP, name: 0xffff_ffff, at: clock.at },
      { source: '2001:db8:1:2::/64', name: 0, at: clock.at },
    ]
    const records = Buffer.alloc(all.length * RECORD)
    all.forEach((each, i) => void STRINGS.write(each, records, i * RECORD))
    expect(all.map((_, i) => STRINGS.read(records, i * RECORD))).toEqual(all)
  })

  test('keeps Redis within 28 MB, for as long as points count', () => {
    expect((STRINGS.earlier + 1) * MOST_OF_SLICE).toBe(28_000_000)
    expect(STRINGS.earlier * STRINGS.sliceMs).toBe(LONGEST_MS)
  })
})

test('a start that reads a full string lets others have their turn', async () => {
  const { news } = new Process()
  const full = Buffer.alloc(6000 * RECORD)
  for (let i = 0; i < 6000; i++)
    STRINGS.write(
      { source: IP, points: 5, offence: 'tongue', at: clock.at, teller: 1, number: i + 1 },
      full,
      i * RECORD,
    )
  let [inTurn, most, heard] = [0, 0, 0]
  news.hear = () => {
    heard++
    most = Math.max(most, ++inTurn)
  }
  const answers = [full]
  const client = { getrangeBuffer: async () => answers.shift() ?? Buffer.alloc(0), eval: async () => 0 }
  const silent = () => undefined
  const sharing = new PointsSharing({
    ...{
      news,
      isInUse: () => true,
      client: client as never,
      prefix: '',
      upSince: () => 1,
      watched: (_, answer) => answer,
    },
    ...{ now, elapsed: () => 0, log: { debug: silent, info: silent, warn: silent, error: silent, flush: silent } },
  })
  let isOver = false
  const turn = (): void => {
    inTurn = 0
    if (!isOver) setImmediate(turn)
  }
  turn()
  await sharing.step()
  isOver = true
  expect([heard, most]).toEqual([6000, AT_ONCE])
})

test('nonsense bans nobody, and counts for nothing', () => {
  const { points, news, addresses, made } = new Process()
  const sound = { teller: 1, source: IP, points: 5, offence: 'tongue', at: clock.at } as const
  let number = 1
  const hear = (more: Partial<GivenPoints>) => points.hear({ ...sound, number: number++, ...more })
  for (const each of [Number.NaN, -5, 0, 1e30, Number.POSITIVE_INFINITY]) hear({ points: each })
  hear({ at: 0 })
  hear({ at: clock.at - LONGEST_MS })
  const random = Buffer.from(Array.from({ length: 50 * RECORD }, (_, i) => (i * 7919 + (i >> 3)) & 0xff))
  for (let i = 0; i < 50; i++) news.hear(STRINGS.read(random, i * RECORD))
  expect(points.of(IP)).toBe(0)
  expect(addresses.has(IP)).toBe(false)
  // From the future it is as if it happened now; nobody is banned before he has done something here.
  for (let i = 0; i < 10; i++) hear({ at: clock.at + 10 * 365 * 24 * 60 * MIN })
  expect(points.of(IP)).toBe(50)
  expect(made).toEqual([])
  clock.at += HALF_LIFE_MS
  expect(points.of(IP)).toBe(25)
})

describe('over Redis', () => {
  const started = stoppedAfterEach()
  const SETTINGS = { BAN_AFTER: '10', TONGUE: 'defer' }
  const greeting = async (app: TestApp, ip = IP): Promise<string> => (await app.clientAs(ip)).reply()
  /** 5 points. */
  const offend = async (app: TestApp, ip = IP): Promise<void> => {
    const client = await app.clientAs(ip)
    await client.reply()
    await client.command('GET / HTTP/1.1')
    await client.closed()
  }
  const isBanned = (app: TestApp, ip = IP): Promise<string> =>
    eventually(
      () => greeting(app, ip),
      (reply) => reply.startsWith('421 4.7.0'),
    )
  const count = async (app: TestApp) => (await app.metric('spillway_bans_total{reason="tongue"}')) ?? 0
  const told = async (app: TestApp) =>
    (await app.metric('spillway_redis_commands_total{use="points",result="ok"}')) ?? 0
  /** All that this node has given until now is told. */
  const hasTold = async (app: TestApp): Promise<void> => {
    const before = await told(app)
    await eventually(
      () => told(app),
      (commands) => commands >= before + 3,
    )
  }

  test('a bot that goes to each node once is banned at all, by one of them', async () => {
    const { a, b, redis } = await startPair(started, SETTINGS)
    await offend(a)
    await offend(b)
    for (const app of [a, b]) await isBanned(app)
    expect((await count(a)) + (await count(b))).toBe(1)
    expect(await greeting(a, '203.0.113.8')).toMatch(/^220/)
    const [key = ''] = (await redis.call('keys', 'spillway:points:*')).trim().split('\n')
    // Whoever has heard of the other's points bans at once, and has none to tell.
    expect([RECORD, 2 * RECORD]).toContain(Number(await redis.call('strlen', key)))
    expect(Number(await redis.call('pttl', key))).toBeGreaterThan(LONGEST_MS)

    // An address that brings mail under three names, not all of them at one node, is banned at none.
    const shared = '203.0.113.20'
    for (const [app, name] of [
      [a, 'a.example'],
      [b, 'b.example'],
      [a, 'c.example'],
    ] as const) {
      const client = await app.clientAs(shared)
      await client.hello(name)
      expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
      client.end()
    }
    await hasTold(a)
    await hasTold(b)
    for (const app of [a, b, a, b]) await offend(app, shared)
    await hasTold(a)
    await hasTold(b)
    for (const app of [a, b]) expect(await greeting(app, shared)).toMatch(/^220/)
  })

  test('what was given while Redis is away counts everywhere when it is back, also at a node that starts then', async () => {
    const { a, redis, another, b } = await startPair(started, SETTINGS)
    await redis.kill()
    // Each goes on by itself meanwhile.
    await offend(a)
    await offend(b, '203.0.113.9')
    await offend(b, '203.0.113.9')
    expect(await greeting(b, '203.0.113.9')).toMatch(/^421 4\.7\.0/)
    await redis.restart()
    await eventually(
      () => redis.call('keys', 'spillway:points:*'),
      (keys) => keys.trim() !== '',
    )
    const c = await another()
    await hasTold(c)
    await offend(c)
    for (const app of [a, b, c]) await isBanned(app)
    expect(await count(c)).toBe(1)
  })

  test('as shipped nobody is banned, and nothing is told', async () => {
    const { a, b, redis } = await startPair(started, { TONGUE: 'defer' })
    for (const app of [a, a, b, b]) await offend(app)
    await eventually(
      () => a.metric('spillway_redis_commands_total{use="bans",result="ok"}'),
      (commands) => (commands ?? 0) >= 4,
    )
    expect(await redis.call('keys', 'spillway:points:*')).toBe('')
    for (const app of [a, b]) expect([await told(app), await greeting(app)]).toEqual([0, expect.stringMatching(/^220/)])
  })
})
