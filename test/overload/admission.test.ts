/** Which share of the strangers' messages is let in, in plain numbers, and who shares it. */
import { describe, expect, test } from '@jest/globals'
import { nextShare } from '../../src/overload/admission.ts'
import { cutOf, FairShare } from '../../src/overload/fair-share.ts'
import { boundsOf } from '../../src/overload/levels.ts'
import { strangersMost } from '../../src/overload/reserve.ts'
import { TURNS, turnOf } from '../../src/overload/returning.ts'

const FREE = { least: 0, most: 1 }
const pressed = (share: number, seconds: number, pressure: number, bounds = FREE): number => {
  for (let i = 0; i < seconds; i++) share = nextShare(share, pressure, bounds, 1)
  return share
}

describe('the share', () => {
  test('falls quickly: at a pressure of 2 to an eighth in three seconds, and never by more than half a second', () => {
    expect(pressed(1, 3, 2)).toBeCloseTo(0.125)
    expect(pressed(1, 1, 50)).toBe(0.5)
    expect(pressed(1, 1, 1.25)).toBeCloseTo(0.8)
  })

  test('rises slowly, by a tenth of itself a second: from one in a hundred to all in 72 seconds', () => {
    expect(pressed(0, 1, 0.5)).toBeCloseTo(0.001)
    expect(pressed(0.04, 1, 0.5)).toBeCloseTo(0.044)
    expect(pressed(0.5, 1, 0.5)).toBeCloseTo(0.52)
    expect(pressed(0.01, 71, 0.9)).toBeLessThan(1)
    expect(pressed(0.01, 72, 0)).toBe(1)
  })

  test('settles where the mail servers can take it, whatever the flood: fifty times the mail, of which two in fifty fit', () => {
    const levels = [2, 3] as const
    for (const level of levels) {
      let share = 1
      const seen: number[] = []
      for (let second = 0; second < 300; second++) {
        share = nextShare(share, share / 0.04, boundsOf(level, 'new'), 1)
        if (second >= 60) seen.push(share)
      }
      expect(Math.min(...seen)).toBeGreaterThan(0.03)
      expect(Math.max(...seen)).toBeLessThan(0.045)
    }
  })

  test('goes on from where it is when the level falls, and begins at one in a hundred when strangers are let in again', () => {
    const again = nextShare(0, 0.2, boundsOf(3, 'new'), 1)
    expect(again).toBe(0.01)
    expect(nextShare(0.05, 0.95, boundsOf(2, 'new'), 1)).toBe(0.05)
  })

  test('stays where it is between 0.9 and 1', () => {
    expect(pressed(0.4, 100, 0.95)).toBe(0.4)
    expect(pressed(0.4, 100, 1)).toBe(0.4)
  })

  test('keeps within the bounds of the level, at once', () => {
    expect(pressed(1, 100, 9, { least: 0.2, most: 1 })).toBe(0.2)
    expect(pressed(1, 1, 0, { least: 0.05, most: 0.05 })).toBe(0.05)
    expect(pressed(0.05, 1, 1, { least: 1, most: 1 })).toBe(1)
  })

  test('depends on the time that has passed, and not on how often it was asked', () => {
    expect(nextShare(1, 1.5, FREE, 2)).toBeCloseTo(pressed(1, 2, 1.5))
    expect(nextShare(0.1, 0, FREE, 5)).toBeCloseTo(pressed(0.1, 5, 0))
    expect(nextShare(0.5, 0, FREE, 0.5)).toBeCloseTo(0.51)
  })
})

describe('the cut', () => {
  test('whole rounds as far as the share goes, and a part of the next', () => {
    // A hundred nets with one message, ten with two, one with three.
    expect(cutOf([100, 10, 1], 1)).toEqual({ full: 3, part: 0 })
    expect(cutOf([100, 10, 1], 105 / 111)).toEqual({ full: 1, part: expect.closeTo(0.5) })
    expect(cutOf([100, 10, 1], 0.5)).toEqual({ full: 0, part: expect.closeTo(0.555) })
    expect(cutOf([100, 10, 1], 0)).toEqual({ full: 0, part: 0 })
  })

  test('where nothing has come lately, the share itself', () => {
    expect(cutOf([0, 0], 0.05)).toEqual({ full: 0, part: 0.05 })
  })
})

describe('over nets', () => {
  const SEED = new Uint8Array(8)
  /** Rounds of one second in which each net sends so many messages. @returns how many of each were let in, in the last ten */
  function letIn(share: number, sends: Readonly<Record<string, number>>): Record<string, number> {
    const fair = new FairShare(SEED)
    const counts: Record<string, number> = Object.fromEntries(Object.keys(sends).map((net) => [net, 0]))
    for (let second = 0; second < 40; second++) {
      fair.set(share, 1)
      const most = Math.max(...Object.values(sends))
      for (let i = 0; i < most; i++) {
        for (const [net, count] of Object.entries(sends)) {
          if (i >= count) continue
          const isIn = fair.offer(net, second * 1000 + i)
          if (isIn && second >= 30) counts[net] = (counts[net] as number) + 1
        }
      }
    }
    return counts
  }

  test('one /24 cannot take all that is let in: what it gets does not grow with what it sends', () => {
    const small = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`192.0.${i}.0/24`, 1]))
    const few = letIn(0.3, { ...small, '203.0.113.0/24': 100 })
    const many = letIn(0.3, { ...small, '203.0.113.0/24': 1000 })
    for (const net of Object.keys(small)) {
      expect(few[net]).toBe(10)
      expect(many[net]).toBe(10)
    }
  })

  test('the share is about what was asked for, where all nets send alike', () => {
    const nets = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`192.0.${i}.0/24`, 1]))
    const counts = letIn(0.2, nets)
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0)
    expect(all / 2000).toBeGreaterThan(0.15)
    expect(all / 2000).toBeLessThan(0.25)
  })

  test('all of it lets in everybody, and nothing nobody', () => {
    expect(letIn(1, { a: 500, b: 1 })).toEqual({ a: 5000, b: 10 })
    expect(letIn(0, { a: 500, b: 1 })).toEqual({ a: 0, b: 0 })
  })

  test('one in twenty is every twentieth where nothing is known of what came before', () => {
    const fair = new FairShare(SEED)
    fair.set(0.05, 1)
    const answers = Array.from({ length: 40 }, (_, i) => fair.offer(`net ${i}`, 0))
    expect(answers.flatMap((isIn, i) => (isIn ? [i + 1] : []))).toEqual([20, 40])
  })

  test('the same messages in the same order have the same answers', () => {
    const run = () => JSON.stringify(letIn(0.37, { a: 7, b: 3, c: 31 }))
    expect(run()).toBe(run())
  })
})

describe('those that have come back go first', () => {
  const SEED = new Uint8Array(8)
  const PLAIN = { isDoubtful: false, isClear: false }
  const [BACK, FIRST] = [turnOf('back', PLAIN), turnOf('first', PLAIN)]
  interface Second {
    readonly back: number
    readonly first: number
    /** How many networks they come from. */
    readonly nets?: number
  }
  /** @returns how many of each were let in, by second */
  function letIn(share: number, comes: readonly Second[]): { back: number; first: number }[] {
    const fair = new FairShare(SEED, TURNS)
    return comes.map(({ back, first, nets = 1000 }, second) => {
      fair.set(share, 1)
      const count = { back: 0, first: 0 }
      for (let i = 0; i < Math.max(back, first); i++) {
        const at = second * 1000 + (i * 1000) / Math.max(back, first)
        const net = `net ${(second * 997 + i) % nets}`
        if (i < back && fair.offer(net, at, BACK)) count.back++
        if (i < first && fair.offer(net, at, FIRST)) count.first++
      }
      return count
    })
  }
  const sum = (counts: { back: number; first: number }[]) => ({
    back: counts.reduce((all, { back }) => all + back, 0),
    first: counts.reduce((all, { first }) => all + first, 0),
  })
  const steady = (second: Second, seconds = 40): Second[] => new Array(seconds).fill(second)

  test('from the same network and from another alike; in the clear after all others of their kind', () => {
    const turns = [false, true].flatMap((isDoubtful) =>
      (['back', 'elsewhere', 'first'] as const).map((came) =>
        [false, true].map((isClear) => turnOf(came, { isDoubtful, isClear })),
      ),
    )
    expect(turns).toEqual([
      [0, 1],
      [0, 1],
      [2, 3],
      [4, 5],
      [4, 5],
      [6, 7],
    ])
  })

  test('over TLS what comes back and is doubtful by its neighbours alone goes before all that come first, and in the clear it does not', () => {
    const by = { isDoubtful: true, byNeighbours: true }
    const turns = (['back', 'elsewhere', 'first'] as const).map((came) =>
      [false, true].map((isClear) => turnOf(came, { ...by, isClear })),
    )
    expect(turns).toEqual([
      [1, 5],
      [1, 5],
      [6, 7],
    ])
  })

  test('the last turn is let in as well where nobody of another one comes', () => {
    const fair = new FairShare(SEED, TURNS)
    let isIn = 0
    for (let second = 0; second < 20; second++) {
      fair.set(0.3, 1)
      for (let i = 0; i < 10; i++) if (fair.offer(`net ${second} ${i}`, second * 1000 + i * 100, TURNS - 1)) isIn++
    }
    expect(isIn).toBeGreaterThan(20 * 2)
  })

  test('while nothing has come lately the share of each turn is let in, and more of what has come back', () => {
    const letIn = (turn: number): number => {
      const fair = new FairShare(SEED, TURNS)
      fair.set(0.3, 1)
      return Array.from({ length: 100 }, (_, i) => fair.offer(`net ${i}`, i, turn)).filter(Boolean).length
    }
    for (let turn = 2; turn < TURNS; turn++) expect(Math.abs(letIn(turn) - 30)).toBeLessThanOrEqual(2)
    // Sixteen at once, and then what the share brings.
    for (const turn of [0, 1]) expect(letIn(turn)).toBeGreaterThan(30)
  })

  test('where hardly anybody comes, the least a second is let in, and of many no more than that beyond the share', () => {
    const letIn = (least: number, perSecond: number, seconds = 60): number => {
      const fair = new FairShare(SEED, TURNS)
      let isIn = 0
      // A flood has used up what was allowed.
      fair.set(0.05, 1)
      for (let i = 0; i < 2000; i++) fair.offer(`bot ${i}`, i / 2, TURNS - 1)
      for (let second = 1; second <= 20 + seconds; second++) {
        fair.set(0.05, 1, least)
        for (let i = 0; i < perSecond; i++)
          if (fair.offer(`net ${second} ${i}`, second * 1000 + i, 2) && second > 20) isIn++
      }
      return isIn
    }
    expect(letIn(1, 1)).toBe(60)
    expect(letIn(0, 1)).toBeLessThan(10)
    expect(letIn(1, 100) / 60).toBeLessThan(6.2)
  })

  test('a burst of the last turn leaves nine tenths of the allowance to what has come back', () => {
    const fair = new FairShare(SEED, TURNS)
    for (let second = 0; second < 40; second++) {
      fair.set(0.5, 1)
      // Ten nets with ten messages each, of which the first five are let in.
      for (let i = 0; i < 100; i++) fair.offer(`net ${second} ${i % 10}`, second * 1000 + i, TURNS - 1)
    }
    fair.set(0.5, 1)
    for (let i = 0; i < 1000; i++) fair.offer(`burst ${i}`, 40_000, TURNS - 1)
    const back = Array.from({ length: 600 }, (_, i) => fair.offer(`back ${i}`, 40_000, 0))
    expect(back.filter(Boolean)).toHaveLength(600)
  })

  test.each([
    ['what is left of the share is for the doubtful', 0.3, 20, 80, 20, 10],
    ['where the others take it all, they get nothing', 0.05, 50, 950, 50, 0],
  ])('doubtful clients come after all others: %s', (_, share, clean, doubtful, cleanIn, doubtfulIn) => {
    const fair = new FairShare(SEED, TURNS)
    const counts = { clean: 0, doubtful: 0 }
    for (let second = 0; second < 40; second++) {
      fair.set(share, 1)
      for (let i = 0; i < clean + doubtful; i++) {
        const isDoubtful = i % Math.round((clean + doubtful) / clean) !== 0
        // The doubtful have come back, and the others come for the first time.
        const turn = turnOf(isDoubtful ? 'back' : 'first', { isDoubtful, isClear: false })
        const isIn = fair.offer(`net ${(second * 997 + i) % 5000}`, second * 1000 + i, turn)
        if (second >= 20 && isIn) counts[isDoubtful ? 'doubtful' : 'clean']++
      }
    }
    expect(counts.clean / 20).toBeCloseTo(cleanIn, -1)
    expect(Math.abs(counts.doubtful / 20 - doubtfulIn)).toBeLessThanOrEqual(2)
  })

  test('all of them, and then as many of the others as are left of the share', () => {
    // 100 in all a second, of which 30 are let in.
    const { back, first } = sum(letIn(0.3, steady({ back: 20, first: 80 })).slice(20))
    expect(back).toBe(20 * 20)
    expect(first).toBeGreaterThan(20 * 8)
    expect(first).toBeLessThanOrEqual(20 * 12)
  })

  test('where more have come back than the share holds, it is theirs alone, and no larger', () => {
    const { back, first } = sum(letIn(0.1, steady({ back: 50, first: 50 })).slice(20))
    expect(first).toBe(0)
    expect(back).toBeGreaterThan(20 * 8)
    expect(back).toBeLessThanOrEqual(20 * 12)
  })

  test('among them, what one network is let in does not grow with what it sends', () => {
    const fair = new FairShare(SEED, TURNS)
    const counts: Record<string, number> = {}
    for (let second = 0; second < 40; second++) {
      fair.set(0.1, 1)
      for (let i = 0; i < 500; i++) {
        const net = i % 25 === 0 ? `small ${i}` : 'large'
        if (fair.offer(net, second * 1000 + i * 2, BACK) && second >= 20) counts[net] = (counts[net] ?? 0) + 1
      }
    }
    for (let i = 0; i < 500; i += 25) expect(counts[`small ${i}`]).toBe(20)
    expect(counts.large).toBeLessThan(20 * 40)
  })

  test('where all come for the first time, the share is theirs', () => {
    const { first } = sum(letIn(0.3, steady({ back: 0, first: 100 })).slice(20))
    expect(first).toBeGreaterThan(20 * 24)
    expect(first).toBeLessThanOrEqual(20 * 33)
    const atOnce = sum(letIn(0.3, [{ back: 0, first: 100 }])).first
    expect([29, 30]).toContain(atOnce)
  })

  test('many that come back at once, after none, take no more than the share of ten seconds', () => {
    const comes = [...steady({ back: 0, first: 700 }), { back: 5000, first: 700, nets: 5000 }]
    const counts = letIn(0.05, comes)
    const { back, first } = counts.at(-1)!
    expect(back + first).toBeLessThanOrEqual(0.05 * (7000 + 5700) + 1)
    const { back: later } = sum(letIn(0.05, [...comes, ...steady({ back: 0, first: 700 }, 20)]).slice(41))
    expect(later).toBe(0)
  })

  test('over any span, pulses or not, no more is let in than the share of what came, and that of ten seconds', () => {
    const pulses = Array.from({ length: 120 }, (_, i) => ({ back: i % 30 === 0 ? 3000 : 0, first: 200, nets: 5000 }))
    const { back, first } = sum(letIn(0.05, pulses))
    const all = 4 * 3000 + 120 * 200
    expect(back + first).toBeLessThanOrEqual(0.05 * (all + 5000))
  })

  test('nothing is nobody, also of those that have not come lately', () => {
    const counts = letIn(0, [...steady({ back: 0, first: 100 }), { back: 100, first: 100 }])
    expect(sum(counts)).toEqual({ back: 0, first: 0 })
  })
})

test('strangers hold the part of a capacity that is not kept, and one in any case', () => {
  expect([
    strangersMost(100, 0.3),
    strangersMost(50, 0.3),
    strangersMost(10, 0),
    strangersMost(2, 0.9),
    strangersMost(100, 0.9),
  ]).toEqual([70, 35, 10, 1, 10])
})
