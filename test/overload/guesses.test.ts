/** Which messages of strangers for recipients of whom nothing is known are let in while many of them are in vain. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import type { Standing } from '../../src/core/client.ts'
import { Guesses, type Lately, shareOfGuesses } from '../../src/overload/guesses.ts'
import { PLAIN } from '../../src/overload/rationing.ts'

const CONNECTIONS = 50
/** Guesses a second, the part of them that is in vain, and messages a second that the mail servers accept. */
const lately = (perSecond: number, part: number, accepted: number): Lately => ({
  came: perSecond,
  inVain: 10 * perSecond * part,
  found: 10 * perSecond * (1 - part),
  accepted: 10 * accepted,
})

describe('the share', () => {
  test.each([
    ['an honest first day, on which nobody is known to be there', lately(14, 0.015, 14)],
    ['the same at its busiest, four times as busy', lately(56, 0.015, 56)],
    ['a morning on which 20,000 messages of a list come within a minute', lately(333, 0.015, 333)],
    ['a first day of which four in five messages are spam, one in eight of it in vain', lately(70, 0.1, 42)],
    ['the same, four times as busy', lately(280, 0.1, 168)],
    ['a quiet night in which all that comes is in vain', lately(2, 1, 0)],
  ])('is all in %s', (_, sums) => {
    expect(shareOfGuesses(sums, CONNECTIONS)).toBe(1)
    expect(shareOfGuesses(sums, 4 * CONNECTIONS)).toBe(1)
  })

  test('leaves as many in vain as are allowed: a fifth of the connections a second, and half of what is accepted', () => {
    for (const perSecond of [200, 700, 7000]) {
      const share = shareOfGuesses(lately(perSecond, 0.9, 14), CONNECTIONS)
      const inVain = share * perSecond * 0.9
      expect(inVain).toBeGreaterThan(16)
      expect(inVain).toBeLessThan(20)
    }
  })

  test('a few in vain say nothing, however many come', () => {
    expect(shareOfGuesses({ came: 100, inVain: 2, found: 0, accepted: 0 }, CONNECTIONS)).toBe(1)
  })
})

let now: number
let isOn: boolean
let back: Set<string>
let spent: string[]
let guesses: Guesses
beforeEach(() => {
  now = 0
  isOn = true
  back = new Set()
  spent = []
  guesses = new Guesses({
    returns: {
      came: (net) => (back.has(net) ? 'back' : 'first'),
      spend: (net) => void spent.push(net),
    },
    connections: () => CONNECTIONS,
    isOn: () => isOn,
    clock: { elapsed: () => now },
    seed: new Uint8Array(8),
  })
})

const LETTER = { from: '', to: 'x1@example.net' }
let count = 0
/** One guess, answered at once if it is let in. @returns why it was put off */
function guess(isThere: boolean, net = `net ${count++}`, standing: Standing = 'new') {
  const client = { net, domain: undefined, standing }
  const { shed, heard } = guesses.ask(client, LETTER, guesses.came(client, LETTER), () => PLAIN)
  if (shed === undefined) heard(isThere)
  return shed
}
/** So many a second, of which one in ten is there. @returns how many were in vain */
function seconds(long: number, perSecond: number): number {
  let inVain = 0
  for (let i = 0; i < long * perSecond; i++) {
    now += 1000 / perSecond
    const isThere = i % 10 === 0
    if (guess(isThere) === undefined && !isThere) inVain++
  }
  return inVain
}

describe('a flood of 700 a second', () => {
  test('is let in for a quarter of a second, and then as far as is allowed', () => {
    expect(seconds(1, 700)).toBeLessThan(300)
    const inVain = seconds(20, 700) / 20
    expect(inVain).toBeGreaterThan(5)
    expect(inVain).toBeLessThan(14)
    expect(guesses.share).toBeLessThan(0.03)
  })

  test('what has come back goes first, and uses up that it was put off', () => {
    seconds(5, 700)
    expect(guess(true, 'a mail server')).toMatchObject({ came: 'first', guess: 'yes' })
    back.add('a mail server')
    expect(guess(true, 'a mail server')).toBeUndefined()
    expect(spent).toEqual(['a mail server'])
  })

  test('suspects come last', () => {
    seconds(5, 700)
    for (const net of ['one', 'another']) back.add(net)
    expect(guess(true, 'one', 'suspect')).toBeDefined()
    expect(guess(true, 'another')).toBeUndefined()
  })

  test('is over within seconds', () => {
    seconds(20, 700)
    expect(seconds(10, 1)).toBeGreaterThan(0)
    expect(guesses.share).toBe(1)
    expect(guess(true)).toBeUndefined()
  })

  test('is let in whole while nobody is put off for overload', () => {
    isOn = false
    expect(seconds(3, 700)).toBe(1890)
  })
})

test('a message with somebody who is there is not in vain, whomever else it names', () => {
  for (let i = 0; i < 700; i++) {
    now += 10
    const { shed, heard } = guesses.ask(
      { net: `${i}`, domain: undefined, standing: 'new' },
      LETTER,
      'first',
      () => PLAIN,
    )
    expect(shed).toBeUndefined()
    for (const isThere of [false, false, true, false]) heard(isThere)
  }
  expect(guesses.share).toBe(1)
})

test('accepted mail allows more', () => {
  seconds(5, 700)
  const before = guesses.share
  for (let i = 0; i < 1000; i++) guesses.accepted()
  now += 250
  expect(guesses.share).toBeGreaterThan(2 * before)
})

test('of a friend nothing is looked up', () => {
  seconds(5, 700)
  back.add('a friend')
  expect(guesses.came({ net: 'a friend', domain: undefined, standing: 'seen' }, LETTER)).toBe('first')
})
