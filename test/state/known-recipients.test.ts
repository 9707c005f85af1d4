import { describe, expect, test } from '@jest/globals'
import { createKnownRecipients, type KnownRecipients } from '../../src/state/known-recipients.ts'
import { REMEMBERED_DAYS } from '../../src/state/known-table.ts'
import { GUARD_COUNT } from '../../src/state/unknown-guard.ts'

const DAY = 86_400_000
const MINUTE = 60_000
let at = 0
const fresh = (sets?: number): KnownRecipients => {
  at = 20_000 * DAY
  return createKnownRecipients({ now: () => at, ...(sets !== undefined && { sets }) })
}
const user = (i: number): string => `user${i}@example.net`
const taken = (known: KnownRecipients, count: number): void => {
  for (let i = 0; i < count; i++) known.heard(user(i), 'accepted')
}

describe('R43 recipients taken lately', () => {
  test('are remembered for 30 days from the last time, in any case', () => {
    const known = fresh()
    expect(known.has(user(1))).toBe(false)
    known.heard('User1@Example.NET', 'accepted')
    at += REMEMBERED_DAYS * DAY
    expect(known.has(user(1))).toBe(true)
    known.heard(user(1), 'accepted')
    at += REMEMBERED_DAYS * DAY
    expect(known.has(user(1))).toBe(true)
    at += DAY
    expect(known.has(user(1))).toBe(false)
  })

  test('are one mailbox in all spellings', () => {
    const known = fresh()
    known.heard('"User1"@Example.net', 'accepted')
    expect(
      ['user1+tag@example.net', 'USER1@example.net', '@r.example:user1@example.net'].map((each) => known.has(each)),
    ).toEqual([true, true, true])
    expect(known.has('user11@example.net')).toBe(false)
  })

  test('a clock that goes back keeps nobody for longer', () => {
    const known = fresh()
    at += 1000 * DAY
    taken(known, 10)
    at -= 1000 * DAY
    expect(known.has(user(1))).toBe(true)
    at += (REMEMBERED_DAYS + 1) * DAY
    expect(known.has(user(1))).toBe(false)
  })

  test('are bounded: what was not seen for longest goes first', () => {
    const known = fresh(1)
    known.heard('often@example.net', 'accepted')
    for (let i = 0; i < 2000; i++) {
      if (i % 100 === 0) at += DAY / 4
      if (i % 50 === 0) known.heard('nobody@example.net', 'unknown')
      known.heard(user(i), 'accepted')
      known.heard('often@example.net', 'accepted')
    }
    let remembered = 0
    for (let i = 0; i < 2000; i++) if (known.has(user(i))) remembered++
    expect(remembered).toBe(127)
    expect(known.has('often@example.net')).toBe(true)
  })

  test('an unknown one is not remembered', () => {
    const known = fresh()
    known.heard(user(1), 'unknown')
    expect(known.has(user(1))).toBe(false)
  })
})

describe('R43 the guard', () => {
  test('believes "unknown" of strangers, however many', () => {
    const known = fresh()
    for (let i = 0; i < 500; i++) known.heard(user(i), 'unknown')
    expect(known.guarding()).toBe(false)
  })

  test('no longer believes it when 20 taken lately are called unknown within a minute', () => {
    const known = fresh()
    taken(known, 100)
    at += 2 * MINUTE
    for (let i = 0; i < GUARD_COUNT - 1; i++) known.heard(user(i), 'unknown')
    expect(known.guarding()).toBe(false)
    known.heard(user(GUARD_COUNT), 'unknown')
    expect(known.guarding()).toBe(true)
  })

  test('20 over a longer time are no sign', () => {
    const known = fresh()
    taken(known, 100)
    for (let i = 0; i < 50; i++) {
      at += 4000
      known.heard(user(i), 'unknown')
      expect(known.guarding()).toBe(false)
    }
  })

  test('nor are 20 among more than 400 that are still taken', () => {
    const known = fresh()
    known.heard('nobody@example.net', 'unknown')
    taken(known, 1000)
    at += 2 * MINUTE
    for (let i = 100; i < 600; i++) known.heard(user(i), 'accepted')
    for (let i = 0; i < GUARD_COUNT; i++) known.heard(user(i), 'unknown')
    expect(known.guarding()).toBe(false)
    for (let i = GUARD_COUNT; i < GUARD_COUNT + 10; i++) known.heard(user(i), 'unknown')
    expect(known.guarding()).toBe(true)
  })

  test('nor is one mailbox that was given up, asked for again and again', () => {
    const known = fresh()
    taken(known, 100)
    for (let i = 0; i < 300; i++) {
      at += 500
      known.heard(user(i % 10), 'unknown')
      expect(known.guarding()).toBe(false)
    }
  })

  test('heals when it stops, and learns nothing meanwhile', () => {
    const known = fresh()
    taken(known, 100)
    at += 2 * MINUTE
    for (let i = 0; i < 30; i++) known.heard(user(i), 'unknown')
    expect(known.guarding()).toBe(true)
    known.heard('newcomer@example.net', 'accepted')
    expect(known.has('newcomer@example.net')).toBe(false)
    expect(known.has(user(1))).toBe(true)
    at += MINUTE
    expect(known.guarding()).toBe(false)
    known.heard('newcomer@example.net', 'accepted')
    expect(known.has('newcomer@example.net')).toBe(true)
  })
})
