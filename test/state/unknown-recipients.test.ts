/** Recipients that are answered from memory: for how long, in whose words, in how much room, and when not. */
import { describe, expect, test } from '@jest/globals'
import { createKnownRecipients } from '../../src/state/known-recipients.ts'
import { GUARD_COUNT } from '../../src/state/unknown-guard.ts'
import { LONGEST_TEXT, MOST_TEXTS, SETS, UnknownRecipients } from '../../src/state/unknown-recipients.ts'

const TTL = 300_000
const UPSTREAM = 'mail1.example:25'

function memory({ ttlMs = TTL, sets = 64 }: { ttlMs?: number | undefined; sets?: number } = {}) {
  const clock = { at: 1_800_000_000_000, ttlMs: ttlMs as number | undefined }
  const now = () => clock.at
  const known = createKnownRecipients({ now })
  const unknown = new UnknownRecipients({ ttlMs: () => clock.ttlMs, known, now, sets })
  const of = (address: string, path = address) => ({ address, path })
  const learn = (address: string, ...lines: string[]) =>
    unknown.heard(of(address), { upstream: UPSTREAM, reply: { code: 550, lines } })
  const recall = (address: string, path = address) => unknown.get(of(address, path))
  return { clock, known, unknown, of, learn, recall }
}

test('the reply is that of the mail server, word for word, for as long as the time is and no longer', () => {
  const { clock, learn, recall, unknown } = memory()
  const lines = ['5.1.1 <nobody@a.example>: Recipient address rejected: nobody@a.example', '5.1.1 User unknown']
  learn('nobody@a.example', ...lines)
  const said = { upstream: UPSTREAM, reply: { code: 550, lines } }
  expect(recall('nobody@a.example')).toEqual(said)
  clock.at += TTL - 1
  // What was heard from memory prolongs nothing.
  expect(recall('nobody@a.example')).toEqual(said)
  expect(unknown.count()).toBe(1)
  clock.at += 1
  expect(recall('nobody@a.example')).toBeUndefined()
  expect(unknown.count()).toBe(0)
})

test('a path with what replace() has patterns for is told as it is', () => {
  const { learn, recall } = memory()
  for (const path of ['$$x@a.example', '$&@a.example', '$`x@a.example', "$'x@a.example", '$1@a.example']) {
    const lines = [`5.1.1 <${path}>: User unknown (${path})`]
    learn(path, ...lines)
    expect(recall(path)?.reply.lines).toEqual(lines)
  }
})

test('a clock that was set back makes nothing last longer', () => {
  const { clock, learn, recall } = memory()
  learn('nobody@a.example', '5.1.1 no')
  clock.at -= 3_600_000
  expect(recall('nobody@a.example')).toBeUndefined()
})

test('another spelling is another question', () => {
  const { learn, recall } = memory()
  learn('nobody@a.example', '5.1.1 no')
  for (const path of ['"nobody"@a.example', '@b.example:nobody@a.example', 'Nobody@a.example', 'nobody+x@a.example']) {
    expect(recall('nobody@a.example', path)).toBeUndefined()
  }
})

test('one that a mail server has accepted is forgotten at once', () => {
  const { learn, recall, unknown } = memory()
  learn('new@a.example', '5.1.1 no')
  learn('nobody@a.example', '5.1.1 no')
  unknown.forget('new@a.example')
  expect(recall('new@a.example')).toBeUndefined()
  expect(recall('nobody@a.example')).toBeDefined()
})

test('one that was accepted lately is never answered from memory', () => {
  const { known, learn, recall, unknown } = memory()
  known.heard('user@a.example', 'accepted')
  learn('user@a.example', '5.1.1 no')
  expect(unknown.count()).toBe(0)
  expect(recall('user@a.example')).toBeUndefined()
  // Another node has heard it accepted, after this one heard that it is unknown.
  learn('new@a.example', '5.1.1 no')
  known.heard('new@a.example', 'accepted')
  expect(recall('new@a.example')).toBeUndefined()
})

describe('a directory that fails', () => {
  const failing = (domains: (i: number) => string) => {
    const all = memory()
    const { clock, known, learn } = all
    for (let i = 0; i < GUARD_COUNT; i++) known.heard(`user${i}@${domains(i)}`, 'accepted')
    clock.at += 1000
    // Exists, and was not accepted lately: the guard cannot know.
    learn('seldom@a.example', '5.1.1 no')
    learn('seldom@other.example', '5.1.1 no')
    clock.at += 1000
    for (let i = 0; i < GUARD_COUNT; i++) known.heard(`user${i}@${domains(i)}`, 'unknown')
    return all
  }

  test('freezes the memory, and what was learnt before the guard saw it is not believed afterwards', () => {
    const { clock, known, learn, recall } = failing((i) => `d${i}.example`)
    expect(known.guarding('seldom@a.example')).toBe(true)
    expect(recall('seldom@a.example')).toBeUndefined()
    clock.at += 1000
    learn('second@a.example', '5.1.1 no')
    clock.at += 90_000
    expect(known.guarding()).toBe(false)
    for (const each of ['seldom', 'second']) expect(recall(`${each}@a.example`)).toBeUndefined()
    learn('third@a.example', '5.1.1 no')
    expect(recall('third@a.example')).toBeDefined()
  })

  test('in one domain alone, leaves the others', () => {
    const { known, recall } = failing(() => 'a.example')
    // One of twenty domains: the guard holds for it alone where others are well.
    const well = memory()
    for (let i = 0; i < 30 * GUARD_COUNT; i++) well.known.heard(`user${i}@d${i}.example`, 'accepted')
    for (let i = 0; i < 30 * GUARD_COUNT; i++) well.known.heard(`user${i}@d${i}.example`, 'accepted')
    for (let i = 0; i < GUARD_COUNT; i++) well.known.heard(`user${i}@a.example`, 'accepted')
    well.learn('seldom@a.example', '5.1.1 no')
    well.learn('seldom@other.example', '5.1.1 no')
    for (let i = 0; i < GUARD_COUNT; i++) well.known.heard(`user${i}@a.example`, 'unknown')
    expect(known.guarding('seldom@other.example')).toBe(true)
    expect(well.known.guarding('seldom@a.example')).toBe(true)
    expect(well.known.guarding('seldom@other.example')).toBe(false)
    expect(well.recall('seldom@a.example')).toBeUndefined()
    expect(well.recall('seldom@other.example')).toBeDefined()
    expect(recall('seldom@other.example')).toBeUndefined()
    well.clock.at += 90_000
    expect(well.known.guarding()).toBe(false)
    expect(well.recall('seldom@a.example')).toBeUndefined()
    expect(well.recall('seldom@other.example')).toBeDefined()
  })
})

describe('room', () => {
  test('as it is shipped: a harvest of 300 new names a second for five minutes is remembered, nearly whole', () => {
    const { learn, recall } = memory({ sets: SETS })
    const names = 90_000
    for (let i = 0; i < names; i++) learn(`guess${i}@a.example`, `5.1.1 <guess${i}@a.example>: User unknown`)
    let remembered = 0
    for (let i = 0; i < names; i++) if (recall(`guess${i}@a.example`) !== undefined) remembered++
    expect(remembered).toBeGreaterThan(0.95 * names)
  })

  test('what is remembered stays while more comes, and the table does not grow', () => {
    const { learn, recall, unknown } = memory({ sets: 2 })
    for (let i = 0; i < 1000; i++) learn(`guess${i}@a.example`, '5.1.1 no')
    expect(unknown.count()).toBe(16)
    expect(recall('guess0@a.example')).toBeDefined()
  })

  test('texts are bounded in number and in length, and free again when their time is over', () => {
    const { clock, learn, recall, unknown } = memory({ sets: 4096 })
    for (let i = 0; i <= MOST_TEXTS; i++) {
      clock.at += 1
      learn(`guess${i}@a.example`, `5.1.1 no ${i} of yours`)
    }
    expect(unknown.count()).toBe(MOST_TEXTS)
    expect(recall(`guess${MOST_TEXTS}@a.example`)).toBeUndefined()
    // The text of the first is free, and that of the second is not yet.
    clock.at += TTL - MOST_TEXTS
    learn('late@a.example', '5.1.1 in other words')
    learn('later@a.example', '5.1.1 in still other words')
    expect(recall('late@a.example')?.reply.lines).toEqual(['5.1.1 in other words'])
    expect(recall('later@a.example')).toBeUndefined()
    expect(recall('guess1@a.example')?.reply.lines).toEqual(['5.1.1 no 1 of yours'])
    const fresh = memory()
    for (const more of [0, 1]) fresh.learn(`long${more}@a.example`, 'x'.repeat(LONGEST_TEXT + more))
    expect(fresh.recall('long0@a.example')).toBeDefined()
    expect(fresh.recall('long1@a.example')).toBeUndefined()
  })
})

test('off: nothing is remembered; and another time forgets what was remembered under the one before', () => {
  const { clock, learn, recall } = memory()
  learn('nobody@a.example', '5.1.1 no')
  clock.ttlMs = undefined
  expect(recall('nobody@a.example')).toBeUndefined()
  learn('nobody@a.example', '5.1.1 no')
  clock.ttlMs = TTL
  expect(recall('nobody@a.example')).toBeUndefined()
})
