/** The lab's counting: what became of each delivery, by hand. */
import { describe, expect, test } from '@jest/globals'
import { accept, type Delivery, heldAfterS, overCapacity, tally, timeline } from '../../bench/flood/ledger.ts'

const MINUTE = 60_000
const delivery = (id: string, more: Partial<Delivery> = {}): Delivery => ({
  id,
  class: 'known',
  sentMs: 0,
  tries: 1,
  ...more,
})

describe('the first try', () => {
  const accepted = (tries: number, beganMs: number, k = 1): boolean | undefined => {
    const each = delivery('a', { sentMs: 1000 })
    accept(each, { atMs: beganMs + 500_000, tookMs: 1, tries, beganMs: 1000 + beganMs, k })
    return each.atFirstTry
  }
  test('is the first, however long it takes', () => expect(accepted(1, 0)).toBe(true))
  test('is still the first at the next node, long after', () => expect(accepted(1, 10 * MINUTE)).toBe(true))
  test('is another one within a minute too', () => expect(accepted(2, MINUTE)).toBe(true))
  test('is not one after a minute', () => expect(accepted(2, MINUTE + 1)).toBe(false))
  test('that minute is one of model time', () => {
    expect(accepted(2, 1000, 60)).toBe(true)
    expect(accepted(2, 1001, 60)).toBe(false)
  })
  test('a delivery is accepted once: what follows changes nothing', () => {
    const each = delivery('a')
    accept(each, { atMs: 5, tookMs: 4, tries: 1, beganMs: 1, k: 1 })
    accept(each, { atMs: 9 * MINUTE, tookMs: 8, tries: 2, beganMs: 8 * MINUTE, k: 1 })
    expect(each).toMatchObject({ acceptedMs: 5, tookMs: 4, atFirstTry: true })
  })
})

describe('a tally', () => {
  const of = (deliveries: readonly Delivery[], arrived: Record<string, number>, k = 1, watchedMs = 0) =>
    tally(deliveries, new Map(Object.entries(arrived)), { k, watchedMs })

  test('once, twice, never, lost', () => {
    const accepted = { acceptedMs: 10, tookMs: 10 }
    const found = of(
      [
        delivery('once', accepted),
        delivery('twice', accepted),
        delivery('lost', accepted),
        delivery('put off', { tries: 3, putOffByUs: true }),
        delivery('bounced', { refusedByUs: true }),
        // The cluster has it, and its sender never heard so.
        delivery('unheard'),
      ],
      { once: 1, twice: 2, unheard: 1 },
    )
    expect(found).toMatchObject({
      ...{
        sent: 6,
        tried: 8,
        once: 2,
        twice: 1,
        never: 3,
        lost: 1,
        putOffByUs: 1,
        refusedByUs: 1,
      },
    })
  })
  test('30 minutes and 4 hours are of model time, from when it was first tried', () => {
    const at = (minutes: number) => delivery(`${minutes}`, { sentMs: 5000, acceptedMs: 5000 + (minutes * MINUTE) / 60 })
    const all = [at(1), at(30), at(31), at(240), at(241), delivery('never', { sentMs: 5000 })]
    expect(of(all, {}, 60, 4 * MINUTE)).toMatchObject({ within30Min: 2, within4H: 4 })
  })
  test('a run that ends before four hours have passed says nothing of them', () => {
    expect(of([], {}, 60, 4 * MINUTE - 1).within4H).toBeUndefined()
    expect(of([], {}, 60, 4 * MINUTE).within4H).toBe(0)
  })
  test('times are of what was accepted', () => {
    const all = Array.from({ length: 100 }, (_, i) => delivery(`${i}`, { acceptedMs: 1, tookMs: i }))
    expect(of([...all, delivery('never')], {})).toMatchObject({ p50Ms: 50, p99Ms: 99 })
  })
})

describe('over the capacity', () => {
  test('is the worst ten seconds, wherever they begin', () => {
    const quiet = new Array<number>(20).fill(1)
    expect(overCapacity([...quiet, ...new Array<number>(10).fill(6), ...quiet], 3)).toBe(2)
    expect(overCapacity([...quiet, 100, ...quiet], 3)).toBeCloseTo(109 / 30)
  })
  test('without a load it is none', () => expect(overCapacity([], 3)).toBe(0))
})

describe('a sender that turned bad', () => {
  const seconds = (...spans: [perSecond: number, s: number][]) =>
    spans.flatMap(([perSecond, s]) => new Array<number>(s).fill(perSecond))
  test('was never above the limit', () => expect(heldAfterS(seconds([0, 10], [20, 60]), 10, 20)).toBe(0))
  test('is held from the last second on after which it was above', () => {
    expect(heldAfterS(seconds([0, 10], [100, 25], [0, 60]), 10, 20)).toBe(23)
    expect(heldAfterS(seconds([0, 10], [100, 25], [20, 30], [100, 3], [20, 60]), 10, 20)).toBeGreaterThan(50)
  })
})

test('a timeline goes by when a message was sent, in spans', () => {
  const sent = (s: number, atFirstTry: boolean) => delivery('a', { sentMs: s * 1000, atFirstTry })
  expect(timeline([sent(12, true), sent(3, true), sent(9.9, false), sent(19, true)], 10)).toEqual([
    { s: 0, share: 0.5 },
    { s: 10, share: 1 },
  ])
})
