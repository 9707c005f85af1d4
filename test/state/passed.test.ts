/** Who has passed a test lately: for how long, how many, and at which nodes, over a real Redis. */
import { afterEach, describe, expect, jest, test } from '@jest/globals'
import { Passed } from '../../src/state/passed.ts'
import { PassedSharing, RECORD, SLICE_MS } from '../../src/state/passed-sharing.ts'
import type { RedisClient } from '../../src/state/redis.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { startPair } from '../support/pair.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
afterEach(() => {
  jest.restoreAllMocks()
})

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE

function table(sets?: number) {
  const at = { now: 1_000_000 * MINUTE, secret: 's' }
  const passed = new Passed({ secret: () => at.secret, now: () => at.now, ...(sets !== undefined && { sets }) })
  return { at, passed }
}

test('a day, as shipped, and nobody else', () => {
  const { at, passed } = table()
  expect(passed.has('greeting', '192.0.2.1')).toBe(false)
  passed.note('greeting', '192.0.2.1')
  expect([passed.has('greeting', '192.0.2.1'), passed.has('greeting', '192.0.2.2')]).toEqual([true, false])
  at.now += DAY - MINUTE
  expect(passed.has('greeting', '192.0.2.1')).toBe(true)
  at.now += MINUTE
  expect(passed.has('greeting', '192.0.2.1')).toBe(false)
  passed.note('greeting', '192.0.2.1')
  expect(passed.has('greeting', '192.0.2.1')).toBe(true)
})

test('a table that is full forgets the oldest, and takes no more room', () => {
  const { at, passed } = table(1)
  for (let i = 0; i < 9; i++) {
    passed.note('greeting', `192.0.2.${i}`)
    at.now += MINUTE
  }
  const held = Array.from({ length: 9 }, (_, i) => passed.has('greeting', `192.0.2.${i}`))
  expect(held).toEqual([false, ...Array(8).fill(true)])
})

test('another secret makes it forget, and what is told under it is not what was noted before', () => {
  const { at, passed } = table()
  passed.share()
  passed.note('greeting', '192.0.2.1')
  at.secret = 't'
  expect(passed.has('greeting', '192.0.2.1')).toBe(false)
  expect(passed.takeUntold()).toEqual([])
})

test('what Redis says can make nobody pass for longer than a day, and nothing it says does harm', () => {
  const { at, passed } = table()
  passed.share()
  passed.note('greeting', '192.0.2.1')
  const [told] = passed.takeUntold()
  const other = table()
  other.passed.hear({ set: 0xffff_ffff, word: 0, minute: 0xffff_ffff })
  other.passed.hear({ ...told!, minute: told!.minute - 24 * 60 })
  expect(other.passed.has('greeting', '192.0.2.1')).toBe(false)
  other.passed.hear({ ...told!, minute: 0xffff_ffff })
  expect(other.passed.has('greeting', '192.0.2.1')).toBe(true)
  other.at.now += DAY
  expect(other.passed.has('greeting', '192.0.2.1')).toBe(false)
  expect(at.now % MINUTE).toBe(0)
})

test('a flood of passes is told within bounds', () => {
  const { passed } = table(1 << 8)
  passed.share()
  for (let i = 0; i < 20_000; i++) passed.note('greeting', `client ${i}`)
  expect(passed.takeUntold()).toHaveLength(16_384)
  expect(passed.takeUntold()).toEqual([])
})

describe('the strings in Redis', () => {
  function sharing(answer: (key: string, from: number, to: number) => Buffer) {
    const { at, passed } = table(64)
    const asked: { key: string; from: number }[] = []
    const client = {
      getrangeBuffer(key: string, from: number, to: number) {
        asked.push({ key, from })
        return Promise.resolve(answer(key, from, to))
      },
    } as unknown as RedisClient
    const shared = new PassedSharing({
      ...{ passed, client, prefix: '', upSince: () => 1, isInUse: () => true, now: () => at.now },
      ...{ watched: (_, promise) => promise, elapsed: () => 0, log: {} as Log },
    })
    return { at, asked, shared }
  }

  test('that never end are read no further than a string may be long', async () => {
    let endless: string | undefined
    const { asked, shared } = sharing((key, from, to) => {
      endless ??= key
      return Buffer.alloc(key === endless ? to - from + 1 : 0)
    })
    await shared.step()
    expect(Math.max(...asked.map(({ from }) => from))).toBeLessThan(200_000 * RECORD)
  })

  test('are those of now again when a clock that was ahead is set', async () => {
    const { at, asked, shared } = sharing(() => Buffer.alloc(0))
    at.now += 3 * SLICE_MS
    await shared.step()
    at.now -= 3 * SLICE_MS
    asked.length = 0
    await shared.step()
    expect(asked.at(-1)?.key).toMatch(new RegExp(`:${Math.floor(at.now / SLICE_MS)}$`))
  })
})

/** Waits until a node has had so many more answers. @returns how many it has had */
const commands = (app: TestApp, before: number, more = 0): Promise<number> =>
  eventually(
    async () => (await app.metric('spillway_redis_commands_total{use="passed",result="ok"}')) ?? 0,
    (count) => count >= before + more,
  )

test('who has waited at one node waits at no other; without the delay Redis is not asked', async () => {
  const settings = { PREGREET: 'reject', GREETING_DELAY: '300ms' }
  const { a, b } = await startPair(started, settings)
  const greeting = async (app: TestApp, ip: string): Promise<string> => {
    const client = await app.clientAs(ip)
    const said = await client.reply()
    client.destroy()
    return said
  }
  let clients = 0
  const waitsOnce = async (): Promise<boolean> => {
    const ip = `198.51.100.${++clients}`
    expect(await greeting(a, ip)).toMatch(/^220-/)
    for (const app of [a, b]) await commands(app, await commands(app, 0), 2)
    return /^220 /.test(await greeting(b, ip))
  }
  // Until the nodes have agreed on a secret and have read the strings of a day, they share nothing.
  await eventually(waitsOnce, (isShared) => isShared)
  expect(await b.metric('spillway_redis_commands_total{use="passed",result="failed"}')).toBe(0)
  expect([RECORD, SLICE_MS]).toEqual([12, 3_600_000])
  const plain = await startPair(started)
  await eventually(
    async () => (await plain.a.metric('spillway_redis_commands_total{use="returns",result="ok"}')) ?? 0,
    (count) => count >= 2,
  )
  expect(await commands(plain.a, 0)).toBe(0)
}, 30_000)
