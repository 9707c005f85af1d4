/** What was put off, and what of it has come back: by table, with a clock of our own. */
import { expect, test } from '@jest/globals'
import { type Key, PutOff, WITHIN_S } from '../../src/state/put-off.ts'

const AFTER = 60
const AT = 1_700_000_000
const KEY: Key = { set: 3, pair: 0x12345, net: 0x678, isNamed: true }
const ELSEWHERE: Key = { ...KEY, net: 0x679 }

const noted = (key = KEY, at = AT): PutOff => {
  const table = new PutOff(16)
  table.note(key, at, AFTER)
  return table
}

const noteOf = (at: number) => new PutOff(16).note(KEY, at, AFTER)!

test.each([
  [0, 'first'],
  [1, 'first'],
  [60, 'first'],
  [61, 'back'],
  [300, 'back'],
  [4000, 'back'],
  [WITHIN_S, 'back'],
  [WITHIN_S + 1, 'first'],
  [12 * 3600, 'first'],
])('%i seconds after it was put off: %s', (seconds, came) => {
  expect(noted().came(KEY, AT + seconds, AFTER)).toBe(came)
})

test('all retries of mail servers come in due time', () => {
  // The first retry of Postfix, Exim, qmail, Gmail, Yahoo and AOL, and the longest waits of Postfix and Gmail.
  for (const seconds of [300, 900, 400, 360, 120, 360, 4000, 126 * 60]) {
    expect(noted().came(KEY, AT + seconds, AFTER)).toBe('back')
  }
})

test('the same message from another network has come back as well', () => {
  expect(noted().came(ELSEWHERE, AT + 61, AFTER)).toBe('elsewhere')
  expect(noted().came(ELSEWHERE, AT + 60, AFTER)).toBe('first')
  expect(noted().came({ ...ELSEWHERE, pair: 0x12346 }, AT + 61, AFTER)).toBe('first')
  expect(noted().came({ ...ELSEWHERE, set: 4 }, AT + 61, AFTER)).toBe('first')
})

test('a null sender comes back from its own network alone', () => {
  const table = noted({ ...KEY, isNamed: false })
  expect(table.came({ ...ELSEWHERE, isNamed: false }, AT + 61, AFTER)).toBe('first')
  expect(table.came({ ...KEY, isNamed: false }, AT + 61, AFTER)).toBe('back')
})

test('a retry that comes too soon does not start the clock again', () => {
  const table = noted()
  for (let seconds = 1; seconds <= 60; seconds++) expect(table.note(KEY, AT + seconds, AFTER)).toBeUndefined()
  expect(table.came(KEY, AT + 61, AFTER)).toBe('back')
})

test('what has come back and is put off again counts at once, and is remembered as long again', () => {
  const table = noted()
  table.note(KEY, AT + 4000, AFTER)
  expect(table.came(KEY, AT + 4000, AFTER)).toBe('back')
  expect(table.came(KEY, AT + 4000 + WITHIN_S - 61, AFTER)).toBe('back')
  expect(table.came(KEY, AT + 4000 + WITHIN_S, AFTER)).toBe('first')
})

test('each refusal is good for one return, from wherever it comes', () => {
  for (const key of [KEY, ELSEWHERE]) {
    const table = noted()
    expect(table.spend(key, AT + 61, AFTER)).toMatchObject({ set: 3, second: AT & 0xffff })
    expect(table.spend(key, AT + 61, AFTER)).toBeUndefined()
    for (const other of [KEY, ELSEWHERE]) expect(table.came(other, AT + 61, AFTER)).toBe('first')
  }
})

test('a thousand addresses with one envelope, put off eight times, come back eight times', () => {
  const table = new PutOff(1024)
  for (let net = 0; net < 8; net++) table.note({ ...KEY, net }, AT, AFTER)
  let back = 0
  for (let net = 100; net < 1100; net++) if (table.spend({ ...KEY, net }, AT + 300, AFTER) !== undefined) back++
  expect(back).toBe(8)
})

test('a network uses up its own refusal before that of another', () => {
  const table = noted()
  table.note(ELSEWHERE, AT - 100, AFTER)
  table.spend(KEY, AT + 61, AFTER)
  expect(table.came(ELSEWHERE, AT + 61, AFTER)).toBe('back')
})

test('where a set is full, the oldest makes room, and the table never grows', () => {
  const table = new PutOff(1)
  for (let i = 0; i < 9; i++) table.note({ ...KEY, pair: i + 1 }, AT + i, AFTER)
  const came = Array.from({ length: 9 }, (_, i) => table.came({ ...KEY, pair: i + 1 }, AT + 100, AFTER))
  expect(came).toEqual(['first', ...new Array(8).fill('back')])
})

test('what is too old is forgotten before its clock has gone round', () => {
  const seconds = 65_536 + 300
  expect(noted().came(KEY, AT + seconds, AFTER)).toBe('back')
  const table = noted()
  for (let at = 0; at < seconds; at += 100) table.sweep(AT + at, 100)
  expect(table.came(KEY, AT + seconds, AFTER)).toBe('first')
})

test('the sweep forgets nothing that still counts', () => {
  const table = noted()
  for (let at = 0; at < WITHIN_S; at += 100) table.sweep(AT + at, 100)
  expect(table.came(KEY, AT + WITHIN_S, AFTER)).toBe('back')
})

test('what another node has put off counts here, and what it has let in no longer does', () => {
  const [one, other] = [new PutOff(16), new PutOff(16)]
  const note = one.note(KEY, AT, AFTER)!
  // Its clock is a minute ahead of ours.
  other.hear(note, AT - 60, AFTER)
  expect(other.came(KEY, AT - 60, AFTER)).toBe('first')
  expect(other.came(KEY, AT + 61, AFTER)).toBe('back')
  one.forget(other.spend(KEY, AT + 61, AFTER)!)
  expect(one.came(KEY, AT + 61, AFTER)).toBe('first')
})

test.each([
  // How long ago each of two nodes has put it off, and which of the two is kept.
  [10, 30, 30],
  [10, 300, 300],
  [300, 2000, 300],
  [10, WITHIN_S + 1, 10],
])('of two that have put it off, %i and %i seconds ago, %i is kept, whoever was heard first', (a, b, kept) => {
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const table = noted(KEY, AT - own)
    table.hear(noteOf(AT - other), AT, AFTER)
    table.hear(noteOf(AT - own), AT, AFTER)
    const until = kept > AFTER ? 0 : AFTER - kept
    if (until > 0) expect(table.came(KEY, AT + until, AFTER)).toBe('first')
    expect(table.spend(KEY, AT + until + 1, AFTER)).toMatchObject({ second: (AT - kept) & 0xffff })
  }
})

test.each([
  { set: 16, word: 1, second: AT & 0xffff },
  { set: 2 ** 31, word: 1, second: AT & 0xffff },
  { set: 3, word: 0, second: AT & 0xffff },
  { set: 3, word: 1, second: (AT - WITHIN_S - 1) & 0xffff },
])('of another node %j is nothing', (note) => {
  const table = new PutOff(16)
  table.hear(note, AT, AFTER)
  table.forget(note)
  expect(table.spend({ ...KEY, pair: 0, net: note.word }, AT + 100, AFTER)).toBeUndefined()
})
