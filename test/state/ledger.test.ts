/** The rule by which a node lets in without asking, as arithmetic: Redis is a number here, and answers when it is told to. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import type { Account } from '../../src/state/account.ts'
import { Ledger, type LedgerOptions } from '../../src/state/ledger.ts'
import { WindowTable } from '../../src/state/table.ts'
import type { When } from '../../src/state/teller.ts'

const WINDOW = 60_000
const AT = 100 * WINDOW
const KEY = '192.0.2.1'

/** Who was told of, and whether at once. */
let told: { account: Account; when: When }[]
let nodes: number
/** How often what was heard was wanted fresh. */
let fresh: number
let isUp: boolean
let elapsed: number
beforeEach(() => {
  told = []
  nodes = 2
  fresh = 0
  isUp = true
  elapsed = 0
})

const ledger = (more: Partial<LedgerOptions> = {}): Ledger =>
  new Ledger({
    table: new WindowTable({ capacity: 1000, windowMs: WINDOW, seed: new Uint8Array(8) }),
    counter: { add: () => Promise.reject(new Error('nobody asks here')) },
    windowMs: WINDOW,
    isGlobal: false,
    teller: {
      tell: (account, when) => void told.push({ account, when }),
      refresh: () => undefined,
      keepFresh: () => void fresh++,
      forget: () => undefined,
    },
    nodes: () => nodes,
    isUp: () => isUp,
    elapsed: () => elapsed,
    ...more,
  })
/** How many of so many tries are let in. */
const letsIn = (it: Ledger, tries: number, max: number, key = KEY): number => {
  let count = 0
  for (let i = 0; i < tries; i++) {
    const { used, max: within } = it.charge(key, AT, max)
    if (used <= within) count++
  }
  return count
}
/** Redis answers the last report: all nodes together have `current` in the present window. */
let batch = 0
const answers = (current: number, leftMs = WINDOW): void => {
  const { account } = told.at(-1) as { account: Account }
  account.answered(account.report(++batch, AT), { current, previous: 0, leftMs }, elapsed)
}

describe('without a word from Redis', () => {
  test.each([
    [200, 1, 200],
    [200, 2, 100],
    [200, 3, 66],
    [2, 3, 1],
    [1, 10, 1],
    [0, 1, 0],
  ])('of %d, %d nodes let in %d each', (max, count, share) => {
    nodes = count
    expect(letsIn(ledger(), 500, max)).toBe(share)
  })

  test('what is refused says how far over it is, against the share', () => {
    const it = ledger()
    letsIn(it, 100, 200)
    expect(it.charge(KEY, AT, 200)).toEqual({ used: 101, max: 100, windowMs: WINDOW })
    expect(it.charge(KEY, AT, 200)).toEqual({ used: 102, max: 100, windowMs: WINDOW })
  })
})

describe('when Redis has spoken', () => {
  test('a node lets in its part of what was left then, and no more until it speaks again', () => {
    const it = ledger()
    expect(letsIn(it, 20, 200)).toBe(20)
    answers(120)
    expect(letsIn(it, 500, 200)).toBe(40)
    answers(160)
    expect(letsIn(it, 500, 200)).toBe(20)
    answers(199)
    expect(letsIn(it, 500, 200)).toBe(1)
    answers(200)
    expect(letsIn(it, 500, 200)).toBe(0)
  })

  test('alone it comes to exactly the limit', () => {
    nodes = 1
    const it = ledger()
    let count = letsIn(it, 150, 200)
    answers(count)
    count += letsIn(it, 500, 200)
    expect(count).toBe(200)
  })

  test('what others have used up is refused at once, with the count of all and the whole limit', () => {
    const it = ledger()
    letsIn(it, 11, 200)
    answers(211)
    expect(it.charge(KEY, AT, 200)).toEqual({ used: 212, max: 200, windowMs: WINDOW })
    expect(it.charge(KEY, AT, 200)).toEqual({ used: 213, max: 200, windowMs: WINDOW })
  })

  test('what was heard fades with the window of Redis, and the share is left', () => {
    const it = ledger()
    letsIn(it, 11, 200)
    answers(200, 30_000)
    expect(letsIn(it, 10, 200)).toBe(0)
    // Three quarters of it are left: half of a quarter of the limit is this node's.
    elapsed = 30_000 + WINDOW / 4
    expect(letsIn(it, 500, 200)).toBe(25)
    elapsed = 30_000 + WINDOW
    expect(letsIn(it, 500, 200)).toBe(75)
  })

  test('a client with another maximum is held against that, at once', () => {
    nodes = 1
    const it = ledger()
    expect(letsIn(it, 20, 10)).toBe(10)
    answers(10)
    expect(letsIn(it, 20, 14)).toBe(4)
    expect(letsIn(it, 20, 4)).toBe(0)
  })

  test('never more than the limit by the count of the node itself, even if Redis has lost its own', () => {
    const it = ledger()
    letsIn(it, 100, 200)
    answers(100)
    letsIn(it, 50, 200)
    answers(0)
    expect(letsIn(it, 500, 200)).toBe(50)
  })
})

describe('what Redis hears of', () => {
  test('nothing, as long as a key has used no more than a tenth of the share of this node', () => {
    const it = ledger()
    expect(letsIn(it, 30, 600)).toBe(30)
    expect(told).toEqual([])
    it.charge(KEY, AT, 600)
    expect(told).toHaveLength(1)
    expect(told[0]?.account.report(1, AT).amount).toBe(31)
  })

  test('nothing more of it once it has ended', () => {
    const forgotten: unknown[] = []
    const counter = { add: () => Promise.reject(new Error('nobody asks here')) }
    const teller = {
      tell: () => undefined,
      refresh: () => undefined,
      keepFresh: () => undefined,
      forget: (ended: unknown) => void forgotten.push(ended),
    }
    ledger({ teller, counter }).end()
    expect(forgotten).toEqual([counter])
  })

  test('of what all clients share, everything', () => {
    const refreshed: Account[] = []
    const teller = {
      tell: (account: Account, when: When) => void told.push({ account, when }),
      refresh: (account: Account) => void refreshed.push(account),
      keepFresh: () => undefined,
      forget: () => undefined,
    }
    const it = ledger({ isGlobal: true, teller })
    it.charge('*', AT, 6000)
    expect(told[0]?.account.report(1, AT).amount).toBe(1)
    expect(refreshed).toEqual([told[0]?.account])
  })

  test('at once, what it has never heard of; then when an eighth of the room is untold, and else a moment later', () => {
    nodes = 1
    const it = ledger()
    letsIn(it, 21, 200)
    expect(told.map(({ when }) => when)).toEqual(['now'])
    answers(40)
    told = []
    // The room is 160, and an eighth of it 20.
    letsIn(it, 25, 200)
    expect(told.findIndex(({ when }) => when === 'now')).toBe(20)
  })

  test('later, while less than half of the limit is used and next to nothing of the room is untold', () => {
    nodes = 2
    const it = ledger({ isGlobal: true })
    letsIn(it, 1, 6400, '*')
    answers(1)
    told = []
    // The room is 3,199, a 64th of it 49, and an eighth 399.
    letsIn(it, 401, 6400, '*')
    const first = (when: When): number => told.findIndex((each) => each.when === when)
    expect([first('later'), first('soon'), first('now')]).toEqual([0, 49, 399])
    answers(3300)
    told = []
    letsIn(it, 1, 6400, '*')
    expect(told.map(({ when }) => when)).toEqual(['soon'])
  })

  test('of what all clients share, what the others have used up by now in all likelihood: refused, and asked for at once', () => {
    const it = ledger({ isGlobal: true })
    letsIn(it, 1, 200, '*')
    answers(100)
    elapsed = 10
    letsIn(it, 1, 200, '*')
    answers(181)
    fresh = 0
    // 80 in 10 ms.
    elapsed = 11
    expect(letsIn(it, 20, 200, '*')).toBe(5)
    expect(fresh).toBe(0)
    elapsed = 13
    const { used, max } = it.charge('*', AT, 200)
    expect([used > max, max, fresh]).toEqual([true, 200, 1])
    elapsed = 112
    expect(letsIn(it, 20, 200, '*')).toBe(4)
  })

  test.each([
    ['of what all clients share, near its end', true, 2, 191, 1],
    ['not before', true, 2, 150, 0],
    ['not of other keys', false, 2, 191, 0],
    ['nor where there is no other node', true, 1, 191, 0],
  ])('and what it says is kept fresh: %s', (_, isGlobal, count, used, times) => {
    nodes = count
    const it = ledger({ isGlobal })
    letsIn(it, 21, 200, '*')
    answers(used)
    fresh = 0
    it.charge('*', AT, 200)
    expect(fresh).toBe(times)
    answers(200)
    fresh = 0
    it.charge('*', AT, 200)
    expect(fresh).toBe(0)
  })

  test('of a refused client nothing', () => {
    const it = ledger()
    letsIn(it, 20, 20)
    told = []
    letsIn(it, 100, 20)
    expect(told).toEqual([])
  })

  test('of what is given back; for a key it was told of', () => {
    const it = ledger()
    letsIn(it, 5, 200)
    it.giveBack(KEY, AT, 2)
    expect(told).toEqual([])
    letsIn(it, 10, 200)
    answers(13)
    told = []
    it.giveBack(KEY, AT, 3)
    expect(told).toHaveLength(1)
    expect(told[0]?.account.report(50, AT)).toMatchObject({ amount: -3 })
  })

  test('a share that shrinks makes no key one that was forgotten: all of it is told', () => {
    nodes = 1
    const it = ledger()
    letsIn(it, 50, 600)
    expect(told).toEqual([])
    nodes = 2
    it.charge(KEY, AT, 600)
    expect(told[0]?.account.report(1, AT).amount).toBe(51)
    letsIn(it, 50, 600, 'another')
    // Over the share that it has now, and refused.
    it.charge('another', AT, 60)
    expect(told.at(-1)?.account.report(2, AT).amount).toBe(50)
  })

  test('a key that was forgotten does not tell again what Redis knows', () => {
    const it = ledger()
    letsIn(it, 50, 600)
    expect(told[0]?.account.report(1, AT).amount).toBe(50)
    // More keys than are remembered.
    for (let i = 0; i < (1 << 16) + 10; i++) it.count(`k${i}`, AT, 0)
    told = []
    it.charge(KEY, AT, 600)
    expect(told[0]?.account.report(2, AT).amount).toBe(1)
  }, 20_000)
})

describe('counts without a maximum', () => {
  test('go on beyond it; what is used is that of all nodes', () => {
    const it = ledger()
    for (let i = 0; i < 15; i++) it.count(KEY, AT, 10)
    answers(18)
    it.count(KEY, AT, 10)
    expect(it.use(KEY, AT, 10)).toEqual({ used: 19, max: 10, windowMs: WINDOW })
  })

  test('without Redis they are held against the share', () => {
    const it = ledger()
    isUp = false
    for (let i = 0; i < 6; i++) it.count(KEY, AT, 10)
    expect(it.use(KEY, AT, 10)).toEqual({ used: 6, max: 5, windowMs: WINDOW })
  })
})

describe('maxima that differ between charges of one key', () => {
  test('each charge goes by its own, whatever Redis knows of the others', () => {
    nodes = 1
    const it = ledger()
    expect(letsIn(it, 100, 600)).toBe(100)
    answers(100)
    // Under pressure strangers have a tenth; what known clients have used counts against them.
    expect(letsIn(it, 10, 60)).toBe(0)
    expect(letsIn(it, 10, 600)).toBe(10)
    const { used, max } = it.charge(KEY, AT, 60)
    expect(used).toBeGreaterThan(max)
  })
})
