/** Who is put off at MAIL, and what a message counts as whose recipients were not heard. */
import { beforeEach, expect, test } from '@jest/globals'
import { PLAIN, Rationing } from '../../src/overload/rationing.ts'
import { Returns } from '../../src/state/returns.ts'

const CLEAR = { isDoubtful: false, isClear: true }
const DOUBTFUL = { isDoubtful: true, isClear: false }
const from = (net: string) => ({ net, domain: undefined })

let returns: Returns
let counts: string[]
let elapsed: number
let rationing: Rationing
beforeEach(() => {
  counts = []
  elapsed = 0
  const seed = new Uint8Array(8)
  returns = new Returns({ secret: () => 's', afterMs: () => 60_000, now: () => 1e12 + elapsed, seed, sets: 1024 })
  rationing = new Rationing({
    returns,
    counted: (came, isIn) => void counts.push(`${came} ${isIn}`),
    clock: { elapsed: () => elapsed },
    seed,
  })
})

/** A second in which so many messages come for the first time over TLS, with level 3. */
function second(count = 100): void {
  for (let i = 0; i < count; i++) {
    elapsed += 1000 / count
    rationing.atRcpt('new', from(`net ${elapsed}`), { from: 'a', to: 'b' }, () => PLAIN)
  }
  rationing.set(3, 1, 1)
  counts = []
}

const atMail = (is = CLEAR, sender = 's') => rationing.atMail(from('here'), sender, () => is)

test('who is doubtful or in the clear is put off at MAIL where nothing of its turn is let in, once for each message', () => {
  rationing.set(3, 1, 1)
  second()
  expect(atMail(DOUBTFUL)).toEqual({ came: 'first', doubtful: 'yes' })
  expect(atMail(CLEAR)).toEqual({ came: 'first', clear: 'yes' })
  expect(counts).toEqual(['first false', 'first false'])
  expect(atMail(PLAIN)).toBeUndefined()
})

test('where there is room for its turn, its recipient decides', () => {
  rationing.set(3, 1, 1)
  for (let i = 0; i < 100; i++) {
    elapsed += 10
    rationing.atRcpt('new', from(`net ${i}`), { from: 'a', to: 'b' }, () => CLEAR)
  }
  rationing.set(3, 1, 1)
  expect(atMail(CLEAR)).toBeUndefined()
  expect(atMail(DOUBTFUL)).toBeDefined()
})

test('nobody is asked about at MAIL while all are let in, or while nothing has come lately', () => {
  const asked = () => {
    throw new Error('nobody needs to know')
  }
  expect(rationing.atMail(from('here'), 's', asked)).toBeUndefined()
  rationing.set(3, 1, 1)
  expect(atMail(DOUBTFUL)).toBeUndefined()
})

/** A message is put off, at MAIL if no recipient is given, and its client leaves. */
const putOff = (sender: string, to = '', net = 'here') =>
  returns.note(net, rationing.keysOf(from(net), { from: sender, to }))
const atRcpt = (sender: string, to: string, is = DOUBTFUL, net = 'here') =>
  rationing.atRcpt('new', from(net), { from: sender, to }, () => is)

test('a sender that comes back gets to its recipient, and counts there as come back, whoever that is', () => {
  putOff('s')
  elapsed += 61_000
  rationing.set(3, 1, 1)
  second()
  expect(atMail(DOUBTFUL)).toBeUndefined()
  expect(atRcpt('s', 'x')).toMatchObject({ came: 'back' })
})

test('five messages of a sender in the clear are in at the next try, and a sixth is not', () => {
  rationing.set(3, 1, 1)
  second()
  for (let i = 0; i < 5; i++) {
    expect(atMail()).toBeDefined()
    putOff('s')
  }
  elapsed += 300_000
  second()
  // All come at once, in sessions of their own.
  for (let i = 0; i < 6; i++) expect(atMail()).toBeUndefined()
  const heard = Array.from({ length: 6 }, (_, i) => {
    second()
    return atRcpt('s', `${i}@example.net`, CLEAR)?.came ?? 'in'
  })
  expect(heard).toEqual([...Array(5).fill('in'), 'first'])
})

test('what was put off at MAIL comes back over TLS, or when nothing speaks against its network any more', () => {
  putOff('s')
  elapsed += 61_000
  rationing.set(3, 1, 1)
  second()
  atRcpt('s', 'x', PLAIN)
  expect(counts.at(-1)).toMatch(/^back/)
})

test('what was put off at its recipient comes back when its network has become doubtful, as the same message alone', () => {
  putOff('s', 'x')
  elapsed += 61_000
  rationing.set(3, 1, 1)
  second()
  expect(atMail(DOUBTFUL)).toBeUndefined()
  expect(atRcpt('s', 'y')).toMatchObject({ came: 'first' })
  expect(atRcpt('s', 'x')).toMatchObject({ came: 'back' })
})

test('from elsewhere it gets to its recipient, where the recipient must have been put off too', () => {
  putOff('s', '', 'there')
  elapsed += 61_000
  rationing.set(3, 1, 1)
  second()
  expect(atMail(DOUBTFUL)).toBeUndefined()
  expect(atRcpt('s', 'x')).toMatchObject({ came: 'first' })
  putOff('s', 'x', 'there')
  elapsed += 61_000
  second()
  expect(atRcpt('s', 'x')).toMatchObject({ came: 'elsewhere' })
})

test('a null sender needs the recipient', () => {
  putOff('', 'x')
  elapsed += 61_000
  rationing.set(3, 1, 1)
  second()
  expect(atRcpt('', 'y')).toMatchObject({ came: 'first' })
  expect(atRcpt('', 'x')).toMatchObject({ came: 'back' })
})

test('what came while all were let in takes nothing from the turn of whoever comes first with TLS', () => {
  for (let i = 0; i < 1000; i++) rationing.atRcpt('new', from(`bot ${i}`), { from: 'a', to: 'b' }, () => PLAIN)
  rationing.set(3, 1, 1)
  const answers = Array.from({ length: 5 }, (_, i) =>
    rationing.atRcpt('new', from(`mail server ${i}`), { from: 'a', to: 'b' }, () => PLAIN),
  )
  expect(answers.filter((each) => each === undefined)).not.toHaveLength(0)
})

test('while the pressure is low, one message a second is let in, but not at a level that is pinned', () => {
  const letIn = (isPinned: boolean): number => {
    rationing.set(3, 1, 1)
    for (let i = 0; i < 1000; i++) rationing.atRcpt('new', from(`bot ${i}`), { from: 'a', to: 'b' }, () => CLEAR)
    let isIn = 0
    for (let second = 0; second < 60; second++) {
      rationing.set(3, 0.7, 1, isPinned)
      elapsed += 1000
      const notIn = rationing.atRcpt('new', from(`net ${second}`), { from: 'a', to: 'b' }, () => PLAIN)
      if (notIn === undefined && second >= 20) isIn++
    }
    return isIn
  }
  expect(letIn(false)).toBe(40)
  expect(letIn(true)).toBeLessThan(10)
})
