/** What was put off, by sender, recipient and network. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { Returns } from '../../src/state/returns.ts'

const LETTER = { from: 'a@example.org', to: 'b@example.net' }
const NET = '192.0.2.0/24'
let now: number
let secret: string

beforeEach(() => {
  now = 1_700_000_000_000
  secret = 'one'
})
const returnsOf = (afterMs = 60_000, sets = 1 << 12) =>
  new Returns({ secret: () => secret, afterMs: () => afterMs, now: () => now, seed: new Uint8Array(8), sets })

test('the same sender and recipient, from the same network or another one', () => {
  const returns = returnsOf()
  returns.note(NET, returns.keysOf(NET, LETTER))
  now += 300_000
  expect(returns.came(NET, LETTER)).toBe('back')
  expect(returns.came('198.51.100.0/24', LETTER)).toBe('elsewhere')
  expect(returns.came(NET, { ...LETTER, from: 'c@example.org' })).toBe('first')
  expect(returns.came(NET, { ...LETTER, to: 'c@example.net' })).toBe('first')
  // Written one after the other, these would be the same.
  expect(returns.came(NET, { from: 'a@example.orgb', to: '@example.net' })).toBe('first')
})

test('OVERLOAD_RETURN_AFTER says how soon', () => {
  const returns = returnsOf(120_000)
  returns.note(NET, returns.keysOf(NET, LETTER))
  now += 120_999
  expect(returns.came(NET, LETTER)).toBe('first')
  now += 1000
  expect(returns.came(NET, LETTER)).toBe('back')
})

/** At MAIL, where no recipient was heard. */
const AT_MAIL = { ...LETTER, to: '' }

describe('a message that was put off at MAIL', () => {
  /** How many messages of the sender come back, each to a recipient of its own. */
  function count(returns: Returns, most = 20): number {
    for (let i = 0; i < most; i++) {
      const letter = { ...LETTER, to: `${i}@example.net` }
      if (returns.came(NET, letter) !== 'back') return i
      returns.spend(NET, letter)
    }
    return most
  }
  const putOff = (returns: Returns, times: number): void => {
    for (let i = 0; i < times; i++) returns.note(NET, returns.keysOf(NET, AT_MAIL))
  }

  test.each([
    [1, 1],
    [5, 5],
    [20, 8],
  ])('%i times is good for %i returns', (times, returned) => {
    const returns = returnsOf()
    putOff(returns, times)
    expect(count(returns)).toBe(0)
    now += 61_000
    expect(count(returns)).toBe(returned)
  })

  test('counts from its own network or domain alone, and at MAIL from anywhere', () => {
    const returns = returnsOf()
    putOff(returns, 1)
    now += 61_000
    expect(returns.came('198.51.100.0/24', LETTER)).toBe('first')
    expect(returns.came('198.51.100.0/24', AT_MAIL)).toBe('elsewhere')
    expect(returns.came(NET, LETTER, 'provider.example')).toBe('back')
  })

  test('at two nodes at once counts at both of them', () => {
    const [one, other] = [0, 4].map(
      (first) =>
        new Returns({
          ...{ secret: () => secret, afterMs: () => 60_000, now: () => now, sets: 1 << 12 },
          seed: new Uint8Array(8).fill(first),
        }),
    ) as [Returns, Returns]
    one.share()
    putOff(one, 3)
    putOff(other, 2)
    for (const told of one.takeUntold()) other.hear(told)
    now += 61_000
    expect(count(other)).toBe(5)
  })
})

test('a message that was put off at its recipient is seen to wait at MAIL, and is good for one return', () => {
  const returns = returnsOf()
  returns.note(NET, returns.keysOf(NET, LETTER))
  now += 61_000
  expect(returns.came(NET, AT_MAIL)).toBe('back')
  expect(returns.came(NET, { ...LETTER, to: 'c@example.net' })).toBe('first')
  returns.spend(NET, LETTER)
  expect(returns.came(NET, LETTER)).toBe('first')
})

test('of one network no more than 300 are noted in a minute, and others are noted all the same', () => {
  const returns = returnsOf()
  const letter = (i: number) => ({ ...LETTER, from: `${i}@example.org` })
  for (let i = 0; i < 10_000; i++) returns.note(NET, returns.keysOf(NET, letter(i)))
  returns.note('198.51.100.0/24', returns.keysOf('198.51.100.0/24', LETTER))
  now += 100_000
  const back = Array.from({ length: 10_000 }, (_, i) => returns.came(NET, letter(i))).filter((came) => came === 'back')
  expect(back).toHaveLength(300)
  expect(returns.came('198.51.100.0/24', LETTER)).toBe('back')
})

test('under another secret all is forgotten', () => {
  const returns = returnsOf()
  returns.share()
  returns.note(NET, returns.keysOf(NET, LETTER))
  const { fingerprint } = returns
  secret = 'other'
  now += 100_000
  expect(returns.came(NET, LETTER)).toBe('first')
  expect(returns.takeUntold()).toEqual([])
  expect(returns.fingerprint).not.toBe(fingerprint)
  secret = 'one'
  expect(returns.came(NET, LETTER)).toBe('first')
})

test('what was written under one secret is written anew under another', () => {
  const [one, other] = [returnsOf(), returnsOf()]
  one.share()
  one.note(NET, one.keysOf(NET, LETTER))
  secret = 'other'
  one.note(NET, one.keysOf(NET, LETTER))
  for (const told of one.takeUntold()) other.hear(told)
  now += 100_000
  expect(other.came(NET, LETTER)).toBe('back')
  expect(other.came('198.51.100.0/24', LETTER)).toBe('elsewhere')
})

test('nothing is kept for other nodes where there are none', () => {
  const returns = returnsOf()
  returns.note(NET, returns.keysOf(NET, LETTER))
  expect(returns.takeUntold()).toEqual([])
})

test('what is put off at one node comes back at another, once', () => {
  const [one, other] = [returnsOf(), returnsOf()]
  one.share()
  other.share()
  const tell = (from: Returns, to: Returns) => {
    for (const told of from.takeUntold()) to.hear(told)
  }
  one.note(NET, one.keysOf(NET, LETTER))
  tell(one, other)
  now += 300_000
  expect(other.came(NET, LETTER)).toBe('back')
  other.spend(NET, LETTER)
  tell(other, one)
  expect(one.came(NET, LETTER)).toBe('first')
})

test('of what is not taken, no more than 16,384 are kept', () => {
  const returns = returnsOf()
  returns.share()
  for (let i = 0; i < 20_000; i++) returns.note(`net ${i}`, returns.keysOf(`net ${i}`, LETTER))
  expect(returns.takeUntold()).toHaveLength(16_384)
})

describe('a provider whose domain is known is one place', () => {
  const BOUNCE = { from: '', to: 'b@example.net' }
  const THERE = '198.51.100.0/24'

  test('a null sender comes back from another of its networks, once', () => {
    const returns = returnsOf()
    returns.note(NET, returns.keysOf(NET, BOUNCE, 'provider.example'))
    now += 300_000
    expect(returns.came(THERE, BOUNCE)).toBe('first')
    expect(returns.came(THERE, BOUNCE, 'other.example')).toBe('first')
    expect(returns.came(THERE, BOUNCE, 'provider.example')).toBe('back')
    returns.spend(THERE, BOUNCE, 'provider.example')
    expect(returns.came(NET, BOUNCE, 'provider.example')).toBe('first')
  })

  test('also where its name was not known yet when it was put off', () => {
    const returns = returnsOf()
    returns.note(NET, returns.keysOf(NET, BOUNCE))
    now += 300_000
    expect(returns.came(NET, BOUNCE, 'provider.example')).toBe('back')
    expect(returns.came(THERE, BOUNCE, 'provider.example')).toBe('first')
    returns.spend(NET, BOUNCE, 'provider.example')
    expect(returns.came(NET, BOUNCE)).toBe('first')
  })
})
