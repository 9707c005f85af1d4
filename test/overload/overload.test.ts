/** The level and what it means for each client, with a clock and samples of our own. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { STANDINGS, type Standing } from '../../src/core/client.ts'
import { LEVELS, type Level } from '../../src/core/overload.ts'
import { EVERY_MS, Overload, type OverloadSettings } from '../../src/overload/overload.ts'
import type { Sample } from '../../src/overload/pressure.ts'
import { FRIENDS_MS } from '../../src/overload/reserve.ts'
import { Returns } from '../../src/state/returns.ts'
import type { Fields } from '../../src/telemetry/log.ts'
import { putOff } from '../support/overload.ts'

const OPEN = { strangers: 1 }
let now: number
let settings: { -readonly [K in keyof OverloadSettings]: OverloadSettings[K] }
let sample: Sample
let told: (Fields & { readonly severity: string; readonly msg: string })[]
let overload: Overload
/** Messages of which only a share is let in, by how they came and what became of them. */
let counts: Record<string, number>

beforeEach(() => {
  now = 1_000_000
  settings = { mode: 'auto', latencyMs: 5000, loopMs: 50, reserve: 0.3, maxConnections: 100, isEnforced: true }
  sample = {
    pool: { slots: 100, wanted: [], servers: [] },
    reported: new Map(),
    connections: [],
    maxConnections: 100,
    loopMs: 0,
    memory: 0,
    globalLimits: 0,
  }
  told = []
  const write = (severity: string) => (fields: Fields, msg: string) => void told.push({ ...fields, severity, msg })
  counts = {}
  const clock = { now: () => 1_700_000_000_000 + now, elapsed: () => now }
  const seed = new Uint8Array(8)
  overload = new Overload({
    settings,
    sample: () => sample,
    returns: new Returns({ secret: () => 's', afterMs: () => 60_000, now: clock.now, seed, sets: 1024 }),
    counted(came, isIn) {
      const what = `${came} ${isIn ? 'in' : 'off'}`
      counts[what] = (counts[what] ?? 0) + 1
    },
    clock,
    seed,
    log: {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      flush: () => undefined,
    },
  })
})

/** Seconds at a pressure of the event loop. */
function seconds(count: number, pressure: number): void {
  sample = { ...sample, loopMs: pressure * settings.loopMs }
  for (let i = 0; i < count; i++) {
    now += EVERY_MS
    overload.tick()
  }
}
const LETTER = { from: 'a@example.org', to: 'b@example.net' }
const client = (standing: Standing, net = '192.0.2.0/24') => ({ standing, net })
/** Whom the banner turns away. */
const refused = (): Standing[] => STANDINGS.filter((standing) => overload.atBanner({ standing }, OPEN) !== undefined)
/** How many of a hundred messages of as many nets are let in. */
const letIn = (standing: Standing): number =>
  Array.from({ length: 100 }, (_, i) => overload.atRcpt(client(standing, `net ${i}`), LETTER)).filter(
    (shed) => shed === undefined,
  ).length

describe('at level 0', () => {
  test('nobody is refused, and nobody hurries, whatever comes', () => {
    seconds(600, 0.7)
    expect(overload.level).toBe(0)
    expect(refused()).toEqual([])
    for (const standing of STANDINGS) {
      expect([standing, letIn(standing), overload.share(standing)]).toEqual([standing, 100, 1])
      expect(overload.idleMs({ standing }, 300_000)).toBe(300_000)
    }
    for (let i = 0; i < 10_000; i++) expect(overload.atRcpt(client('new'), LETTER)).toBeUndefined()
    expect(told).toEqual([])
  })
})

describe('pinned to', () => {
  const REFUSED: Readonly<Record<Level, readonly Standing[]>> = {
    0: [],
    1: [],
    2: ['suspect', 'banned'],
    3: ['suspect', 'banned'],
    4: ['new', 'suspect', 'banned'],
  }
  const LET_IN: Readonly<Record<Level, Readonly<Record<Standing, number>>>> = {
    0: { trusted: 100, known: 100, seen: 100, new: 100, suspect: 100, banned: 100 },
    1: { trusted: 100, known: 100, seen: 100, new: 100, suspect: 100, banned: 100 },
    2: { trusted: 100, known: 100, seen: 100, new: 100, suspect: 0, banned: 0 },
    3: { trusted: 100, known: 100, seen: 100, new: 5, suspect: 0, banned: 0 },
    4: { trusted: 100, known: 100, seen: 100, new: 0, suspect: 0, banned: 0 },
  }
  const IDLE_S: Readonly<Record<Level, number>> = { 0: 300, 1: 300, 2: 60, 3: 30, 4: 15 }

  test.each(LEVELS)('level %i: the banner, RCPT and silence, without any pressure', (level) => {
    settings.mode = level
    overload.tick()
    expect(overload.level).toBe(level)
    expect(refused()).toEqual(REFUSED[level])
    for (const standing of STANDINGS) {
      expect([standing, letIn(standing)]).toEqual([standing, LET_IN[level][standing]])
      const isHurried = ['new', 'suspect', 'banned'].includes(standing)
      expect(overload.idleMs({ standing }, 300_000)).toBe(isHurried ? IDLE_S[level] * 1000 : 300_000)
      expect(overload.idleMs({ standing }, 10_000)).toBe(10_000)
    }
  })

  test('it is told once, and the pressure is measured all the same', () => {
    settings.mode = 3
    seconds(60, 2)
    expect(told).toHaveLength(1)
    expect(told[0]).toMatchObject({ severity: 'warn', overloadLevel: 3, before: 0, mode: 3 })
    expect(overload.report()).toMatchObject({ level: 3, pressure: { signal: 'event_loop', value: 2 } })
    // What was pinned is no history for what is measured.
    settings.mode = 'auto'
    seconds(1, 2)
    expect(overload.level).toBe(0)
  })

  test('off is level 0, whatever the pressure', () => {
    settings.mode = 'off'
    seconds(60, 9)
    expect([overload.level, overload.enforced, letIn('new')]).toEqual([0, 0, 100])
    settings.mode = 'auto'
    seconds(11, 9)
    expect([overload.level, letIn('new')]).toEqual([4, 0])
    settings.mode = 'off'
    expect([overload.level, overload.enforced, letIn('new')]).toEqual([0, 0, 100])
  })
})

describe('by pressure', () => {
  test('the level rises with the signal that caused it in the log, and falls again', () => {
    seconds(4, 1.25)
    expect(told).toEqual([
      {
        ...{ severity: 'warn', msg: 'the overload level has risen', mode: 'auto' },
        ...{ overloadLevel: 3, before: 0, signal: 'event_loop', pressure: 1.25 },
      },
    ])
    const { since } = overload.report()
    expect(since).toBe(1_700_000_000_000 + now)
    seconds(31, 0.1)
    expect(told.at(-1)).toMatchObject({
      severity: 'info',
      overloadLevel: 2,
      before: 3,
      msg: 'the overload level has fallen',
    })
    expect(overload.report().since).toBe(1_700_000_000_000 + now)
  })

  test('latency names the upstream', () => {
    const servers = [{ upstream: 'slow:25', slots: 50, dotMs: 9000 }]
    sample = { ...sample, pool: { ...sample.pool, servers } }
    seconds(4, 0)
    expect(told[0]).toMatchObject({ overloadLevel: 3, signal: 'upstream_latency', upstream: 'slow:25' })
  })

  test('at level 2 strangers are put off as far as capacity lacks, but for one in a hundred', () => {
    seconds(4, 1.1)
    expect(overload.level).toBe(2)
    const first = overload.share('new')
    expect(first).toBeLessThan(1)
    seconds(60, 1.1)
    expect(overload.share('new')).toBe(0.01)
    expect(overload.share('seen')).toBe(1)
    seconds(10, 0.85)
    expect(overload.level).toBe(2)
    expect(overload.share('new')).toBeCloseTo(0.0259, 3)
    const shed = overload.atRcpt(client('suspect'), LETTER)
    expect(shed).toEqual({ overloadLevel: 2, share: 0 })
  })

  test('at level 4 those who are seen are put off as far as capacity lacks, and the known never', () => {
    seconds(60, 3)
    expect([overload.level, overload.share('seen'), overload.share('known')]).toEqual([4, 0.2, 1])
  })
})

test('where no sample can be taken, the level stays as it is, and the log says why', () => {
  seconds(4, 1.25)
  sample = undefined as never
  overload.start()
  overload.stop()
  expect(overload.level).toBe(3)
  expect(told.at(-1)).toMatchObject({ severity: 'error', msg: 'the overload level was not measured' })
})

describe('strangers that come back', () => {
  const put = (i: number, from = `net ${i}`) => {
    const letter = { from: `${i}@example.org`, to: 'b@example.net' }
    const shed = overload.atRcpt(client('new', from), letter)
    if (shed !== undefined) putOff(overload, client('new', from), letter)
    return shed
  }
  const later = (ms: number) => {
    now += ms
    overload.tick()
  }

  test('go before those that come for the first time, once', () => {
    settings.mode = 3
    later(EVERY_MS)
    for (let i = 0; i < 100; i++) put(i)
    later(300_000)
    // A flood of others all the while.
    for (let i = 1000; i < 1800; i++) {
      put(i)
      if (i % 40 === 39) later(EVERY_MS)
    }
    const back = [10, 20, 30, 40, 50, 60, 70, 80].map((i) => put(i))
    expect(back).toEqual(new Array(8).fill(undefined))
    expect(put(1900)).toEqual({ overloadLevel: 3, share: 0.05, came: 'first' })
    expect(counts['back in']).toBe(8)
    expect(put(10)).toMatchObject({ came: 'first' })
  })

  test('from another network as well', () => {
    settings.mode = 4
    overload.tick()
    put(1)
    later(300_000)
    expect(put(1)).toEqual({ overloadLevel: 4, share: 0, came: 'back' })
    expect(put(1, 'other')).toEqual({ overloadLevel: 4, share: 0, came: 'elsewhere' })
    expect(put(2)).toEqual({ overloadLevel: 4, share: 0, came: 'first' })
    expect(counts).toEqual({ 'first off': 2, 'back off': 1, 'elsewhere off': 1 })
  })

  test('nothing is counted while all are let in, nor remembered at level 0', () => {
    putOff(overload, client('new'), LETTER)
    settings.mode = 1
    putOff(overload, client('known'), LETTER)
    overload.tick()
    expect(letIn('new')).toBe(100)
    expect(counts).toEqual({})
    later(300_000)
    settings.mode = 4
    expect(overload.atRcpt(client('new'), LETTER)).toMatchObject({ came: 'first' })
  })

  test('what was put off for another reason counts from level 1 on', () => {
    settings.mode = 1
    putOff(overload, client('new'), LETTER)
    later(300_000)
    settings.mode = 4
    expect(overload.atRcpt(client('new'), LETTER)).toMatchObject({ came: 'back' })
  })
})

describe('a doubtful client', () => {
  const offers = (count: number, isDoubtful: boolean) =>
    Array.from({ length: count }, () => {
      now += 1
      return overload.atRcpt(client('new', `net ${now}`), LETTER, () => ({ isDoubtful, isClear: !isDoubtful }))
    })

  test('is put off before all others, and the log says so', () => {
    settings.mode = 3
    overload.tick()
    // Who it is is known after the first second.
    for (let second = 0; second < 3; second++) {
      offers(90, true)
      offers(10, false)
      now += EVERY_MS
      overload.tick()
    }
    const [doubtful, clean] = [offers(90, true), offers(10, false)]
    expect(doubtful.filter((shed) => shed === undefined)).toHaveLength(0)
    expect(clean.filter((shed) => shed === undefined).length).toBeGreaterThanOrEqual(3)
    expect(doubtful[0]).toMatchObject({ came: 'first', doubtful: 'yes' })
    expect(doubtful[0]).not.toHaveProperty('clear')
    const cleanShed = clean.find((shed) => shed !== undefined)
    expect(cleanShed).toMatchObject({ clear: 'yes' })
    expect(cleanShed).not.toHaveProperty('doubtful')
  })

  test('is let in as all are while nobody is put off, and nobody asks who it is', () => {
    const asked = () => {
      throw new Error('nobody needs to know')
    }
    for (const level of [0, 1] as const) {
      settings.mode = level
      overload.tick()
      for (let i = 0; i < 100; i++) expect(overload.atRcpt(client('new', `${i}`), LETTER, asked)).toBeUndefined()
    }
  })
})

describe('while the check is only observed', () => {
  test('nobody is put off, so that nothing is remembered', () => {
    settings.isEnforced = false
    settings.mode = 4
    overload.tick()
    putOff(overload, client('new'), LETTER)
    now += 300_000
    expect(overload.atRcpt(client('new'), LETTER)).toMatchObject({ came: 'first' })
  })

  test('the level is measured and judged by, and neither limits nor timeouts nor the reserve go by it', () => {
    settings.isEnforced = false
    settings.mode = 4
    overload.tick()
    overload.met('known')
    expect([overload.level, overload.enforced, overload.reserve]).toEqual([4, 0, 0])
    expect(refused()).toEqual(['new', 'suspect', 'banned'])
    expect(overload.idleMs({ standing: 'new' }, 300_000)).toBe(300_000)
  })
})

describe('the reserve', () => {
  const at = (standing: Standing, strangers: number) => overload.atBanner({ standing }, { strangers })

  test('keeps nothing where no friend has come', () => {
    overload.met('new')
    overload.met('suspect')
    expect([overload.reserve, at('new', 100)]).toEqual([0, undefined])
  })

  test.each(['trusted', 'known', 'seen'] as const)('is kept for an hour after a %s client', (standing) => {
    expect(overload.met(standing)).toBe(standing)
    expect(overload.reserve).toBe(0.3)
    expect(at('new', 70)).toBeUndefined()
    expect(at('new', 71)).toEqual({ overloadLevel: 0, used: 71, max: 70 })
    for (const friend of ['trusted', 'known', 'seen'] as const) expect(at(friend, 100)).toBeUndefined()
    now += FRIENDS_MS - 1
    expect(overload.reserve).toBe(0.3)
    now += 1
    expect([overload.reserve, at('new', 100)]).toEqual([0, undefined])
  })

  test('is given up with SPILLWAY_OVERLOAD=off', () => {
    overload.met('known')
    settings.mode = 'off'
    expect([overload.reserve, at('new', 100)]).toEqual([0, undefined])
  })
})
