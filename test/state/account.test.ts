/** What a node knows of one key: what it has not told, what it has heard, and how both run out. */
import { describe, expect, test } from '@jest/globals'
import { Account } from '../../src/state/account.ts'
import type { SharedCounter } from '../../src/state/limiter.ts'

const WINDOW = 10_000
/** The beginning of a window of the node's clock. */
const START = 50 * WINDOW
const account = (): Account => new Account({ key: 'a', counter: {} as SharedCounter, windowMs: WINDOW })

describe('what is untold', () => {
  test('is what was added and not yet acknowledged, in the window of its length', () => {
    const one = account()
    one.add(8, START)
    expect(one.untold(START + WINDOW - 1)).toBe(8)
    expect(one.untold(START + WINDOW)).toBe(8)
    expect(one.untold(START + 1.25 * WINDOW)).toBe(6)
    one.add(2, START + 1.25 * WINDOW)
    expect(one.untold(START + 1.5 * WINDOW)).toBe(6)
    expect(one.untold(START + 3 * WINDOW)).toBe(0)
  })

  test('stays untold while it is on its way, and is told under the same number until it is answered', () => {
    const one = account()
    one.add(5, START)
    expect(one.report(7, START)).toMatchObject({ amount: 5, batch: 7 })
    one.add(3, START)
    expect(one.untold(START)).toBe(8)
    const again = one.report(9, START)
    expect(again).toMatchObject({ amount: 5, batch: 7 })
    one.answered(again, { current: 5, previous: 0, leftMs: WINDOW }, 0)
    expect(one.untold(START)).toBe(3)
    expect(one.report(9, START)).toMatchObject({ amount: 3, batch: 9 })
  })

  test('an answer that comes after all counts as one', () => {
    const one = account()
    one.add(5, START)
    const sent = one.report(1, START)
    one.answered(sent, { current: 5, previous: 0, leftMs: WINDOW }, 0)
    one.answered(sent, { current: 5, previous: 0, leftMs: WINDOW }, 0)
    expect([one.untold(START), one.report(2, START).amount]).toEqual([0, 0])
  })

  test('of a long time without an answer, only what still counts is told', () => {
    const one = account()
    one.add(8, START)
    one.report(1, START)
    one.add(4, START)
    // A quarter into the next window: three quarters of both are left. What was sent is repeated as it was.
    const later = START + 1.25 * WINDOW
    expect(one.untold(later)).toBe(9)
    expect(one.report(2, later)).toMatchObject({ amount: 8, batch: 1 })
    const muchLater = START + 2 * WINDOW
    expect(one.untold(muchLater)).toBe(0)
    expect(one.report(3, muchLater)).toEqual({ amount: 0, batch: 3 })
  })

  test('what was let in at the last moment of a window is told in the next', () => {
    const one = account()
    one.add(1, START + WINDOW - 1)
    expect(one.report(1, START + WINDOW + 9)).toMatchObject({ amount: 1, batch: 1 })
    const other = account()
    other.add(1, START)
    expect(other.hasMore(START + 1.4 * WINDOW)).toBe(true)
    expect(other.hasMore(START + 1.6 * WINDOW)).toBe(false)
    expect(other.report(1, START + 1.6 * WINDOW).amount).toBe(0)
  })

  test('what is given back is told as well, below nothing', () => {
    const one = account()
    one.add(2, START)
    one.answered(one.report(1, START), { current: 2, previous: 0, leftMs: WINDOW }, 0)
    one.add(-2, START)
    expect(one.untold(START)).toBe(-2)
    expect(one.report(2, START)).toMatchObject({ amount: -2, batch: 2 })
  })

  test('a clock that steps back makes nothing older and loses nothing', () => {
    const one = account()
    one.add(5, START)
    expect(one.untold(START - 3 * WINDOW)).toBe(5)
    expect(one.report(1, START - 3 * WINDOW).amount).toBe(5)
  })
})

describe('what is known', () => {
  const heard = (current: number, previous: number, leftMs: number, at: number): Account => {
    const one = account()
    one.answered(one.report(1, START), { current, previous, leftMs }, at)
    return one
  }

  test('is the sliding count of Redis, also after its window has ended', () => {
    const one = heard(6, 10, 4000, 1000)
    expect(one.known(1000)).toBe(6 + 10 * 0.4)
    expect(one.known(3000)).toBe(6 + 10 * 0.2)
    expect(one.known(5000)).toBe(6)
    expect(one.known(10_000)).toBe(3)
    expect(one.known(15_000)).toBe(0)
    expect(one.known(1_000_000)).toBe(0)
  })

  test('what is expected goes on at the pace of the other nodes, for a tenth of a second', () => {
    const one = account()
    one.answered(one.report(1, START), { current: 10, previous: 0, leftMs: 9000 }, 1000)
    expect(one.expected(1050)).toBe(10)
    one.add(4, START)
    // In 20 ms the others have let in 16 of the 20, this node 4.
    one.answered(one.report(2, START), { current: 30, previous: 0, leftMs: 8980 }, 1020)
    expect([one.expected(1020), one.expected(1025), one.expected(1120)]).toEqual([30, 34, 110])
    expect(one.expected(1121)).toBe(30)
    one.add(5, START)
    one.answered(one.report(3, START), { current: 35, previous: 0, leftMs: 8960 }, 1040)
    expect(one.expected(1060)).toBe(35)
  })

  test('is nothing, and unheard, before the first answer and when the last has run out', () => {
    expect([account().known(0), account().isUnheard(0)]).toEqual([0, true])
    const one = heard(6, 0, 4000, 0)
    expect([one.isUnheard(13_999), one.isUnheard(14_000)]).toEqual([false, true])
  })
})
