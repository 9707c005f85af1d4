/** Who is put off at MAIL, and what a message counts as whose recipients were not heard. */
import { beforeEach, expect, test } from '@jest/globals'
import type { Came } from '../../src/core/overload.ts'
import { PLAIN, Rationing } from '../../src/overload/rationing.ts'
import type { Envelope } from '../../src/state/returns.ts'

const CLEAR = { isDoubtful: false, isClear: true }
const DOUBTFUL = { isDoubtful: true, isClear: false }
const from = (net: string) => ({ net, domain: undefined })

let back: Set<string>
let elsewhere: Set<string>
let spent: string[]
let noted: string[]
let counts: string[]
let elapsed: number
let rationing: Rationing
beforeEach(() => {
  back = new Set()
  elsewhere = new Set()
  spent = []
  noted = []
  counts = []
  elapsed = 0
  rationing = new Rationing({
    returns: {
      came: (_, { from, to }: Envelope): Came =>
        back.has(`${from} ${to}`) ? 'back' : elsewhere.has(`${from} ${to}`) ? 'elsewhere' : 'first',
      spend: (_, { from, to }) => void spent.push(`${from} ${to}`),
      keyOf(_, { from, to }) {
        noted.push(`${from} ${to}`)
        return { set: 0, pair: 0, net: 0, isNamed: true }
      },
    },
    counted: (came, isIn) => void counts.push(`${came} ${isIn}`),
    clock: { elapsed: () => elapsed },
    seed: new Uint8Array(8),
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
  for (const is of [DOUBTFUL, CLEAR]) expect(atMail(is)).toEqual({ came: 'first', ...is })
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

test('of such clients the sender is remembered as well, and of none with a null sender', () => {
  const putOff = (from_: string, to: string, manner = DOUBTFUL) =>
    rationing.keysOf(from('here'), { from: from_, to }, manner)
  putOff('s', '')
  putOff('s', 'x')
  putOff('', 'x')
  putOff('t', 'x', PLAIN)
  expect(noted).toEqual(['s ', 's x', 's ', ' x', 't x'])
})

test('a sender that comes back gets to its recipient, and counts there as come back, whoever that is', () => {
  rationing.set(3, 1, 1)
  second()
  back.add('s ')
  expect(atMail(DOUBTFUL)).toBeUndefined()
  expect(rationing.atRcpt('new', from('here'), { from: 's', to: 'x' }, () => DOUBTFUL)).toMatchObject({ came: 'back' })
  // When the others have gone, there is room.
  const isIn = Array.from({ length: 200 }, (_, i) => {
    rationing.set(3, 1, 1)
    return rationing.atRcpt('new', from(`${i}`), { from: 's', to: 'x' }, () => DOUBTFUL) === undefined
  })
  expect(isIn.indexOf(true)).toBeGreaterThan(0)
  expect(spent.slice(0, 2)).toEqual(['s x', 's '])
})

test('from elsewhere it gets to its recipient, where the recipient must have been put off too', () => {
  rationing.set(3, 1, 1)
  second()
  elsewhere.add('s ')
  const came = (to: string) => rationing.atRcpt('new', from('here'), { from: 's', to }, () => DOUBTFUL)?.came
  expect(atMail(DOUBTFUL)).toBeUndefined()
  expect(came('x')).toBe('first')
  elsewhere.add('s x')
  expect(came('x')).toBe('elsewhere')
})

test('a null sender, and a client that cannot be put off at MAIL, need the recipient', () => {
  rationing.set(3, 1, 1)
  second()
  back.add('s ').add(' ')
  expect(rationing.atRcpt('new', from('here'), { from: '', to: 'x' }, () => DOUBTFUL)).toMatchObject({ came: 'first' })
  for (let i = 0; i < 5; i++) rationing.atRcpt('new', from('here'), { from: 's', to: 'x' }, () => PLAIN)
  expect(counts.slice(1).every((count) => count.startsWith('first '))).toBe(true)
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
