/** What strangers may hold of a mail server: when it is cut, when it grows, and that nobody but a crowd of known senders decides. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { GROW_MS, StrangersPart } from '../../src/overload/strangers-part.ts'
import { play } from './cluster-model.ts'

const CONNECTIONS = 50
const FEW = 2
const USUAL_MS = 240

let now: number
let isPressed: boolean
let part: StrangersPart
beforeEach(() => {
  now = 1_000_000
  isPressed = false
  part = new StrangersPart({ connections: () => CONNECTIONS, isPressed: () => isPressed, elapsed: () => now })
})

const netOf = (i: number): string => `198.51.${i}.0/24`

/** So many messages of known senders, at their dots at once, of as many neighbourhoods by turns, that take so long. */
function come(count: number, ms: number, { nets = 20, from = 0, octets = 0 } = {}): void {
  const dots = Array.from({ length: count }, (_, i) => part.sent(netOf(from + (i % nets))))
  now += ms
  for (const dot of dots) part.accepted(dot, octets)
}

/** While strangers hold few, and there is no level. */
function learn(count = 256, ms = USUAL_MS): void {
  come(count, ms, { nets: 64 })
  now += 60_000
}

test('where nobody is known, strangers may have all, whatever they hold', () => {
  part.held = 35
  isPressed = true
  now += 600_000
  expect([part.most, part.isFull]).toEqual([undefined, false])
})

describe('at level 0', () => {
  beforeEach(() => {
    learn()
    part.held = 35
  })

  test('more than half of the neighbourhoods of the last ten are late: it is cut by as much as they are', () => {
    come(5, USUAL_MS)
    come(5, 1000, { from: 5 })
    expect(part.most).toBeUndefined()
    come(1, 1000, { from: 40 })
    // 35 × 240 / 1000
    expect(part.most).toBe(8)
  })

  test('no neighbourhood brings it about alone, nor do two, however much they send', () => {
    come(200, 60_000, { nets: 1 })
    come(200, 60_000, { nets: 2 })
    expect(part.most).toBeUndefined()
    // Most of the last ten messages, but not most of the neighbourhoods.
    come(6, 20_000, { nets: 2 })
    come(4, USUAL_MS, { from: 10 })
    expect(part.most).toBeUndefined()
  })

  test('a slow mailbox, large messages, and a time that is a little longer say nothing', () => {
    for (let i = 0; i < 20; i++) {
      come(9, USUAL_MS, { from: i })
      come(1, 30_000, { from: i + 9 })
    }
    come(20, 5000, { octets: 5_000_000 })
    come(20, 1.2 * USUAL_MS)
    expect(part.most).toBeUndefined()
  })

  test('it is twice as much after every ten seconds, and then all', () => {
    come(10, 10_000)
    part.held = 0
    const seen = Array.from({ length: 4 }, () => {
      now += GROW_MS
      return part.most
    })
    expect(seen).toEqual([16, 32, undefined, undefined])
  })
})

describe('from level 1 on', () => {
  beforeEach(() => {
    learn()
    isPressed = true
    part.held = 35
  })

  test('three neighbourhoods of sixty messages are enough, and two are not', () => {
    come(30, USUAL_MS)
    come(12, 1000, { nets: 2 })
    expect(part.most).toBeUndefined()
    come(1, 400, { from: 30 })
    expect(part.most).toBe(8)
  })

  test('a cut must have shown what it does before there is another', () => {
    const before = Array.from({ length: 20 }, (_, i) => part.sent(netOf(i)))
    come(3, 500)
    expect(part.most).toBe(16)
    now += 1000
    for (const dot of before) part.accepted(dot, 0)
    // Strangers hold more than they may, as those that were there have not come to their end.
    come(20, 1000)
    expect(part.most).toBe(16)
    part.held = 16
    come(3, 1000)
    expect(part.most).toBe(4)
  })

  test('there are always a few', () => {
    for (let i = 0; i < 5; i++) {
      come(20, 1000)
      part.held = part.most ?? 35
    }
    expect([part.most, part.isFull]).toEqual([FEW, true])
    part.held--
    expect(part.isFull).toBe(false)
  })

  test('it grows by one after ten seconds in which no more than one neighbourhood was late', () => {
    come(20, 60_000)
    part.held = 8
    come(20, USUAL_MS)
    come(4, 1000, { nets: 1 })
    const most = part.most as number
    now += GROW_MS
    expect(part.most).toBe(most + 1)
    come(2, 1000, { nets: 2 })
    now += GROW_MS
    expect(part.most).toBe(most + 1)
    // After half a minute they are forgotten.
    now += 3 * GROW_MS
    expect(part.most).toBe(most + 2)
  })
})

test('a server of which one message in 23 is late in calm may be so in a flood', () => {
  const uneven = (rounds: number): void => {
    for (let i = 0; i < rounds; i++) {
      come(22, USUAL_MS, { nets: 22, from: 7 * i })
      come(1, 3000, { from: 7 * i + 22 })
    }
  }
  uneven(16)
  isPressed = true
  part.held = 35
  uneven(16)
  expect(part.most).toBeUndefined()
  come(4, 3000, { from: 400 })
  expect(part.most).toBeDefined()
})

test('a server that is slower for good: after a while that is usual, and strangers may have all again', () => {
  learn()
  part.held = 35
  const seen: (number | undefined)[] = []
  // Four messages a second, which take 3 s whatever strangers hold.
  for (let i = 0; i < 240; i++) {
    come(4, 1000, { from: 4 * i, nets: 4 })
    const dots = Array.from({ length: 4 }, (_, n) => part.sent(netOf(4 * i + n)))
    now += 3000
    for (const dot of dots) part.accepted(dot, 0)
    part.held = Math.min(35, part.most ?? 35)
    seen.push(part.most)
  }
  expect(seen).toContain(FEW)
  expect(part.most).toBeUndefined()
  expect(part.usualMs).toBe(3000)
})

test('the same under a level', () => {
  learn()
  isPressed = true
  part.held = 35
  for (let i = 0; i < 60; i++) {
    come(8, 3000, { from: 8 * i, nets: 8 })
    part.held = Math.min(35, part.most ?? 35)
  }
  expect(part.usualMs).toBe(3000)
  const most = part.most as number
  now += GROW_MS
  expect(part.most).toBe(most + 1)
})

test('and the same where known senders send a message every six seconds', () => {
  learn()
  isPressed = true
  part.held = 35
  const seen: (number | undefined)[] = []
  for (let i = 0; i < 150; i++) {
    come(1, 3000, { from: i })
    now += 3000
    part.held = Math.min(35, part.most ?? 35)
    seen.push(part.most)
  }
  expect(seen).toContain(FEW)
  expect(part.usualMs).toBe(3000)
  expect(part.most).toBeUndefined()
})

test('and the same where only some of the messages take longer for good', () => {
  learn()
  isPressed = true
  part.held = 35
  for (let i = 0; i < 120; i++) {
    come(6, USUAL_MS, { from: 8 * i, nets: 6 })
    come(2, 1000, { from: 8 * i + 6, nets: 2 })
    part.held = Math.min(35, part.most ?? 35)
  }
  expect(part.usualMs).toBe(1000)
  expect(part.most).toBeGreaterThan(8)
})

describe('what is usual', () => {
  test('it takes twenty messages, sent while strangers hold few, and a neighbourhood has ten at most', () => {
    come(100, USUAL_MS, { nets: 1 })
    expect(part.usualMs).toBeUndefined()
    part.held = FEW + 1
    come(100, USUAL_MS)
    expect(part.usualMs).toBeUndefined()
    part.held = FEW
    come(9, USUAL_MS, { from: 1 })
    expect(part.usualMs).toBeUndefined()
    come(1, USUAL_MS, { from: 30 })
    expect(part.usualMs).toBe(USUAL_MS)
  })

  test('it is learnt from the latest messages, also where only ten neighbourhoods are known', () => {
    come(200, 2000, { nets: 10 })
    expect(part.usualMs).toBe(2000)
    come(200, USUAL_MS, { nets: 10 })
    expect(part.usualMs).toBe(USUAL_MS)
    // But not from those under a level.
    isPressed = true
    come(200, 1000, { nets: 10 })
    expect(part.usualMs).toBe(USUAL_MS)
  })

  test('under a level it is not learnt from a queue of the strangers', () => {
    learn()
    isPressed = true
    part.held = FEW
    come(200, 1000, { nets: 64 })
    expect(part.usualMs).toBe(USUAL_MS)
  })

  test('if it is not known when a level begins, strangers hold few, and it is learnt', () => {
    isPressed = true
    part.held = 35
    come(10, 1000)
    expect(part.most).toBe(FEW)
    part.held = FEW
    come(15, 9000)
    expect(part.usualMs).toBeUndefined()
    // It grows all the same: where known senders send little, strangers are not kept waiting for it.
    now += 1000
    expect(part.most).toBe(FEW + 1)
    come(5, USUAL_MS)
    expect(part.usualMs).toBe(9000)
  })
})

describe('a cluster of ten workers, 50 connections, and strangers who take all that they may', () => {
  const calm = play({ seconds: 120, hasRule: true })

  test.each([1, 2, 3])(
    'known senders hardly notice, and no more is begun than the cluster can take (seed %i)',
    (seed) => {
      const flood = { seconds: 180, from: 30, seed }
      const [without, ruled] = [play({ ...flood, hasRule: false }), play({ ...flood, hasRule: true })]
      expect(without.p99Ms).toBeGreaterThan(4 * calm.p99Ms)
      expect(ruled.p50Ms).toBeLessThan(1.05 * calm.p50Ms)
      expect(ruled.p99Ms).toBeLessThan(1.5 * calm.p99Ms)
      expect(without.begun).toBeGreaterThan(1.4)
      expect(ruled.begun).toBeLessThan(1.2)
      expect(ruled.used).toBeGreaterThan(0.2)
    },
  )

  test('without strangers, nothing is ever taken from them', () => {
    expect(Math.min(...calm.most)).toBe(35)
  })

  test('a flood that is there from the beginning, so that nothing is known of the cluster: known senders do better than before', () => {
    const { p99Ms } = play({ seconds: 180, from: 0, hasRule: true })
    expect(p99Ms).toBeLessThan(2 * calm.p99Ms)
  })

  test('if it is slower by two seconds for good, strangers get back all that they may have', () => {
    const { most } = play({ seconds: 360, from: 30, hasRule: true, slower: { from: 60, ms: 2000 } })
    expect(Math.min(...most)).toBe(2)
    expect(most.at(-1)).toBe(35)
  })
})
