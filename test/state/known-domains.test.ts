/** R43 Recipients taken lately, by domain: what takes everything needs no room, and no domain takes that of another. */
import { describe, expect, test } from '@jest/globals'
import { ACCEPTS_EVERYTHING, createKnownRecipients, type KnownRecipients } from '../../src/state/known-recipients.ts'
import { GUARD_COUNT } from '../../src/state/unknown-guard.ts'

const DAY = 86_400_000
const HOUR = 3_600_000
let at = 0
const fresh = (sets?: number): ReturnType<typeof createKnownRecipients> => {
  at = 20_000 * DAY
  const known = createKnownRecipients({ now: () => at, ...(sets !== undefined && { sets }) })
  // Hashes are 16 bits for a domain: with a secret that stays, no two of these tests are one today and two tomorrow.
  known.adopt('a'.repeat(64))
  return known
}
const taken = (known: KnownRecipients, domain: string, from: number, to: number): void => {
  for (let i = from; i < to; i++) known.heard(`u${i}@${domain}`, 'accepted')
}
const unknown = (known: KnownRecipients, domain: string, from: number, to: number): void => {
  for (let i = from; i < to; i++) known.heard(`u${i}@${domain}`, 'unknown')
}
const remembered = (known: KnownRecipients, domain: string, to: number): number => {
  let count = 0
  for (let i = 0; i < to; i++) if (known.has(`u${i}@${domain}`)) count++
  return count
}
/** What takes up room; a record is ten bytes. */
const places = (known: ReturnType<typeof createKnownRecipients>): number => {
  let count = 0
  for (let set = 0; set < known.sets; set++) count += known.read(set).length / 10
  return count
}
const open = (): ReturnType<typeof createKnownRecipients> => {
  const known = fresh()
  taken(known, 'all.example', 0, ACCEPTS_EVERYTHING)
  expect(known.acceptsEverything('x@all.example')).toBe(true)
  return known
}

describe('R43 room, with the table as it is shipped', () => {
  test('a day of a million addresses of a domain that takes everything leaves everybody else where he is', () => {
    const known = fresh()
    for (let domain = 0; domain < 1000; domain++) taken(known, `d${domain}.example`, 0, 100)
    known.heard('nobody@large.example', 'unknown')
    taken(known, 'large.example', 0, 100_000)
    at += DAY
    const before = places(known)
    for (let i = 0; i < 1_000_000; i++) known.heard(`${i}.random@all.example`, 'accepted')
    expect(places(known) - before).toBeLessThanOrEqual(ACCEPTS_EVERYTHING + 1)
    expect(remembered(known, 'large.example', 100_000)).toBe(100_000)
    for (let domain = 0; domain < 1000; domain += 10) expect(remembered(known, `d${domain}.example`, 100)).toBe(100)
    expect(known.has('never.seen@all.example')).toBe(true)
  })

  test('nor does one that takes nearly everything, and so needs a place for each', () => {
    const known = fresh(512)
    known.heard('nobody@large.example', 'unknown')
    for (let domain = 0; domain < 500; domain++) taken(known, `d${domain}.example`, 0, 12)
    taken(known, 'large.example', 0, 12_000)
    at += DAY
    for (let i = 0; i < 90_000; i++) known.heard(`u${i}@most.example`, i % 500 === 0 ? 'unknown' : 'accepted')
    expect(places(known)).toBe(512 * 128)
    expect(remembered(known, 'large.example', 12_000)).toBe(12_000)
    for (let domain = 0; domain < 500; domain++) expect(remembered(known, `d${domain}.example`, 12)).toBe(12)
    // What is left over is its own.
    expect(remembered(known, 'most.example', 90_000)).toBeGreaterThan(40_000)
    // And whoever comes new finds room in what it has.
    taken(known, 'new.example', 0, 900)
    expect(remembered(known, 'new.example', 900)).toBe(900)
  })

  test('it is no more than it was: 6.3 MB', () => {
    const before = process.memoryUsage().arrayBuffers
    const known = fresh()
    const after = process.memoryUsage().arrayBuffers
    expect(after - before).toBeLessThan(2 ** 19 * 12)
    expect(known.sets * 128).toBe(2 ** 19)
  })
})

describe('R43 a domain that takes everything', () => {
  test('is one when a thousand mailboxes were taken and none was refused', () => {
    const known = fresh()
    taken(known, 'all.example', 0, ACCEPTS_EVERYTHING - 1)
    expect(known.acceptsEverything('x@all.example')).toBe(false)
    known.heard('one.more@all.example', 'accepted')
    expect(known.acceptsEverything('x@all.example')).toBe(true)
    expect(known.acceptsEverything('x@other.example')).toBe(false)
  })

  test('is none where one was refused in the last 30 days', () => {
    const known = fresh()
    taken(known, 'some.example', 0, 500)
    known.heard('nobody@some.example', 'unknown')
    at += 30 * DAY
    taken(known, 'some.example', 500, 3000)
    expect(known.acceptsEverything('x@some.example')).toBe(false)
    at += DAY
    known.heard('another@some.example', 'accepted')
    expect(known.acceptsEverything('x@some.example')).toBe(true)
  })

  test('nor by one mailbox, spelt in a thousand ways or asked for a thousand times', () => {
    const known = fresh()
    for (let i = 0; i < 3000; i++) known.heard(`u+${i}@some.example`, 'accepted')
    for (let i = 0; i < 3000; i++) known.heard('v@some.example', 'accepted')
    expect(known.acceptsEverything('x@some.example')).toBe(false)
  })

  test('is remembered for 30 days from the last mail to it', () => {
    const known = open()
    at += 20 * DAY
    known.heard('x@all.example', 'accepted')
    at += 30 * DAY
    expect(known.has('y@all.example')).toBe(true)
    at += DAY
    expect(known.has('y@all.example')).toBe(false)
  })

  test('stays one while the directory fails, and long after', () => {
    const known = open()
    taken(known, 'other.example', 0, 50)
    at += DAY
    for (let minute = 0; minute < 180; minute++) {
      for (let i = 0; i < 30; i++) known.heard(`${minute}.${i}@all.example`, 'unknown')
      unknown(known, 'other.example', 0, 50)
      expect(known.guarding('new@all.example')).toBe(true)
      at += 60_000
    }
    at += 2 * HOUR
    expect([known.guarding(), known.acceptsEverything('x@all.example')]).toEqual([false, true])
  })

  test('of which the directory alone is gone stays one, if that is over within the hour', () => {
    const known = open()
    known.heard('nobody@other.example', 'unknown')
    taken(known, 'other.example', 0, 2000)
    at += DAY
    for (let minute = 0; minute < 50; minute++) {
      for (let i = 0; i < 60; i++) {
        at += 1000
        taken(known, 'other.example', i * 33, (i + 1) * 33)
        known.heard(`${minute}.${i}@all.example`, 'unknown')
      }
      expect([known.guarding('x@all.example'), known.guarding('x@other.example')]).toEqual([true, false])
    }
    at += 2 * HOUR
    expect([known.guarding(), known.acceptsEverything('x@all.example')]).toEqual([false, true])
  })

  test.each([
    ['a few a minute', 5],
    ['many, for more than an hour', 60],
  ])('and takes no longer everything is believed to: %s', (_, aMinute) => {
    const known = open()
    known.heard('nobody@other.example', 'unknown')
    taken(known, 'other.example', 0, 2000)
    at += DAY
    for (let minute = 0; minute < 65; minute++) {
      for (let i = 0; i < 60; i++) {
        at += 1000
        taken(known, 'other.example', i * 33, (i + 1) * 33)
        if (i < aMinute) known.heard(`${minute}.${i}@all.example`, 'unknown')
      }
    }
    expect(known.acceptsEverything('x@all.example')).toBe(false)
    expect(known.guarding('x@all.example')).toBe(false)
    // Of those that it had taken itself, the memory is what it was.
    expect(known.has('u1@all.example')).toBe(true)
    // And it is no such domain again because it takes some.
    taken(known, 'all.example', 5000, 8000)
    expect(known.acceptsEverything('x@all.example')).toBe(false)
  })

  test('as whose the domain of another was made to look forgets none of that, and guards it', () => {
    const known = fresh()
    taken(known, 'victim.example', 0, 3000)
    expect(known.acceptsEverything('x@victim.example')).toBe(true)
    known.heard('guess@victim.example', 'unknown')
    for (let minute = 0; minute < 3; minute++) {
      at += 60_000
      known.heard('u1@victim.example', 'accepted')
    }
    expect(known.acceptsEverything('x@victim.example')).toBe(false)
    expect(remembered(known, 'victim.example', ACCEPTS_EVERYTHING)).toBe(ACCEPTS_EVERYTHING)
    unknown(known, 'victim.example', 0, GUARD_COUNT)
    expect(known.guarding('x@victim.example')).toBe(true)
  })
})

describe('R43 somebody who can have any number of addresses accepted', () => {
  /** Two thousand mailboxes of his own domain, written to all the time. */
  const his = (known: KnownRecipients): void => taken(known, 'his.example', 0, 20_000)
  const begin = (): ReturnType<typeof createKnownRecipients> => {
    const known = fresh()
    known.heard('nobody@his.example', 'unknown')
    his(known)
    taken(known, 'large.example', 0, 500)
    for (let domain = 0; domain < 30; domain++) taken(known, `d${domain}.example`, 0, 10)
    at += DAY
    his(known)
    return known
  }

  test('does not hide that the directory fails for a domain', () => {
    const known = begin()
    unknown(known, 'large.example', 0, GUARD_COUNT)
    expect([known.guarding(), known.guarding('x@large.example'), known.guarding('x@his.example')]).toEqual([
      true,
      true,
      false,
    ])
  })

  test('nor that it fails for many small ones', () => {
    const known = begin()
    for (let domain = 0; domain < 10; domain++) {
      expect(known.guarding('x@d29.example')).toBe(false)
      unknown(known, `d${domain}.example`, 0, 2)
    }
    expect(known.guarding('x@d29.example')).toBe(true)
  })

  test('nor hides it by a domain that takes everything', () => {
    const known = open()
    taken(known, 'large.example', 0, 500)
    at += DAY
    for (let i = 0; i < 60_000; i++) known.heard(`${i}@all.example`, 'accepted')
    unknown(known, 'large.example', 0, GUARD_COUNT)
    expect(known.guarding('somebody@else.example')).toBe(true)
  })

  test('nor keeps the word of the cluster from others by one domain of his that fails', () => {
    const known = begin()
    taken(known, 'large.example', 0, 500)
    unknown(known, 'his.example', 0, 500)
    expect([known.guarding('x@his.example'), known.guarding('x@large.example')]).toEqual([false, false])
    for (let i = 0; i < 3; i++) {
      at += 60_000
      taken(known, 'large.example', 0, 500)
      unknown(known, 'his.example', 1000, 1000 + GUARD_COUNT)
    }
    expect([known.guarding('x@his.example'), known.guarding('x@large.example')]).toEqual([true, false])
  })
})
