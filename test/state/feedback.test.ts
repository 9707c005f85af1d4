/** What spam and ham make of a client that the cluster has taken mail from, and of its neighbours. */
import { describe, expect, test } from '@jest/globals'
import type { Verdict } from '../../src/core/feedback.ts'
import { standingAlone, standingOf } from '../../src/overload/standing.ts'
import { correctionOf } from '../../src/state/feedback.ts'
import { History } from '../../src/state/history.ts'
import type { Lesson } from '../../src/state/past.ts'
import type { CountsAs } from '../../src/state/relayed-messages.ts'

const NEEDS = { after: 3, days: 2 }
const DAY = 86_400_000
const GOOD: Lesson = { good: 1, bad: 0 }
const IP = '192.0.2.1'
const START = Date.UTC(2026, 0, 10, 12)

function begin() {
  const clock = { now: START }
  const history = new History({
    standingAlone: (own) => standingAlone(own, NEEDS),
    ttlMs: () => 100 * DAY,
    now: () => clock.now,
    seed: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]),
    capacity: 4096,
  })
  const of = (ip = IP) => standingOf({ isAllowed: false, own: history.own(ip), net: history.net(ip) }, NEEDS)
  const told = (verdict: Verdict, ip = IP, before?: CountsAs) => {
    const correction = correctionOf(verdict, before)
    if (correction !== undefined) history.learn(ip, correction.lesson)
  }
  return { clock, history, of, told }
}

test.each<[CountsAs | undefined, Verdict, CountsAs | undefined]>([
  [undefined, 'spam', 'spam'],
  [undefined, 'ham', 'good'],
  ['good', 'spam', 'spam'],
  ['good', 'ham', undefined],
  ['bad', 'spam', undefined],
  ['bad', 'ham', 'good'],
  ['spam', 'spam', undefined],
  ['spam', 'ham', 'good'],
  ['nothing', 'spam', 'bad'],
  ['nothing', 'ham', undefined],
])('a message that counts as %s is called %s: it counts as %s', (before, verdict, after) => {
  expect(correctionOf(verdict, before)?.countsAs).toBe(after)
})

describe('a spammer whose mail is all accepted and filed', () => {
  test('never becomes known where each message is called spam, also when all that is bad has faded', () => {
    const { clock, of, told, history } = begin()
    for (let day = 0; day < 10; day++) {
      history.learn(IP, GOOD)
      told('spam')
      expect(of()).not.toBe('known')
      clock.now += DAY
    }
    for (let day = 0; day < 30; day++) {
      expect(of()).not.toBe('known')
      clock.now += DAY
    }
    expect(history.own(IP)).toMatchObject({ good: 10, recentGood: 0 })
    history.learn(IP, GOOD)
    expect(of()).toBe('seen')
  })

  test('is suspect after two, whatever its 250s said', () => {
    const { of, told, history } = begin()
    for (let i = 0; i < 2; i++) history.learn(IP, GOOD)
    expect(of()).toBe('seen')
    for (let i = 0; i < 2; i++) told('spam')
    expect(of()).toBe('suspect')
  })

  test('with one message of many called spam it is judged by the others', () => {
    const { clock, of, told, history } = begin()
    for (const at of [START, START, START + DAY]) {
      clock.now = at
      for (let i = 0; i < 5; i++) history.learn(IP, GOOD)
    }
    told('spam')
    expect(of()).toBe('known')
  })
})

test('ham after spam leaves what was before', () => {
  const { of, told, history, clock } = begin()
  for (const at of [START, START, START + DAY]) {
    clock.now = at
    history.learn(IP, GOOD)
  }
  const before = history.own(IP)
  told('spam', IP, 'good')
  expect(of()).toBe('seen')
  told('ham', IP, 'spam')
  expect(of()).toBe('known')
  expect(history.own(IP)).toEqual({ ...before, lastBad: expect.any(Number) })
})

test('ham makes good a message that its reply called bad', () => {
  const { told, history, of } = begin()
  history.learn(IP, { good: 0, bad: 1 })
  told('ham', IP, 'bad')
  expect(history.own(IP)).toMatchObject({ good: 1, recentGood: 1, recentBad: 0 })
  expect(of()).toBe('seen')
})

test('the pool of a big provider never turns suspect as a whole, though each of its addresses is reported each day', () => {
  const { clock, of, told, history } = begin()
  const pool = Array.from({ length: 60 }, (_, i) => `192.0.2.${i + 1}`)
  for (let day = 0; day < 20; day++) {
    for (const ip of pool) {
      for (let i = 0; i < 20; i++) history.learn(ip, GOOD)
      told('spam', ip)
    }
    expect(of('192.0.2.200')).not.toBe('suspect')
    clock.now += DAY
    expect(of('192.0.2.200')).not.toBe('suspect')
  }
})
