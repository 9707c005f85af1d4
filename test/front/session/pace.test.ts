import { describe, expect, test } from '@jest/globals'
import { Pace } from '../../../src/front/session/pace.ts'

const LIMITS = { idleMs: 10_000, minDataRate: 500, sessionMs: 3_600_000 }
const pace = (limits = {}): Pace => new Pace({ ...LIMITS, ...limits }, 1000)

describe('a command line', () => {
  test('has to be whole within the time a client may be silent, whatever bytes come meanwhile', () => {
    const typist = pace()
    for (let s = 1; s < 10; s++) expect(typist.typing(1000 + s * 1000)).toBe(10_000 - s * 1000)
    expect(typist.typing(11_000)).toBe(0)
  })

  test('gets that time anew from each of our replies', () => {
    const typist = pace()
    typist.typing(9000)
    typist.typed(9500)
    typist.turn(9600)
    expect(typist.typing(15_600)).toBe(4000)
  })

  test('is slow when it took longer than 5 s from its first part to its end; one that came late but whole is not', () => {
    const late = pace()
    late.typed(9000)
    expect(late.typesSlowly).toBe(false)
    const typist = pace()
    typist.typing(2000)
    typist.typed(7000)
    expect(typist.typesSlowly).toBe(false)
    typist.typing(8000)
    typist.typing(13_000)
    typist.typed(13_001)
    expect(typist.typesSlowly).toBe(true)
    typist.typed(13_002)
    expect(typist.typesSlowly).toBe(true)
  })
})

describe('a message', () => {
  /** When a message of `octets` each `everyMs` is cut; undefined: not within an hour. */
  const cutAt = (octets: number, everyMs: number, limits = {}): number | undefined => {
    const sender = pace(limits)
    sender.body(0)
    for (let now = everyMs; now < 3_600_000; now += everyMs) if (sender.part(octets, now)) return now
    return undefined
  }

  test.each([
    ['1 octet a second', 1, 1000, 61_000],
    ['400 octets a second', 400, 1000, 300_000],
    ['exactly the least rate', 500, 1000, undefined],
    ['a block of 64 KB every minute', 65_536, 60_000, undefined],
    ['a block of 10 KB every 50 s', 10_000, 50_000, 100_000],
    ['full speed', 1_000_000, 1000, undefined],
  ])('at %s', (_, octets, everyMs, expected) => {
    expect(cutAt(octets, everyMs)).toBe(expected)
  })

  test('may come at any rate where none is set', () => {
    expect(cutAt(1, 10_000, { minDataRate: undefined })).toBeUndefined()
  })

  test('a fast beginning is no credit for more than the patience there was', () => {
    const sender = pace()
    sender.body(0)
    expect(sender.part(100_000_000, 1000)).toBe(false)
    expect(sender.part(1, 60_000)).toBe(false)
    expect(sender.part(1, 62_000)).toBe(true)
  })

  test('is not charged what we made it wait', () => {
    const sender = pace()
    sender.body(0)
    expect(sender.part(1, 30_000)).toBe(false)
    sender.turn(500_000)
    expect(sender.part(1, 529_000)).toBe(false)
    expect(sender.part(1, 531_000)).toBe(true)
  })
})

test('a session is over when it has lasted as long as it may', () => {
  const session = pace()
  expect(session.isOver(3_601_000)).toBe(false)
  expect(session.isOver(3_601_001)).toBe(true)
})
