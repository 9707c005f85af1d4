/** What Redis shall hear later: that a long absence does not fill it for good, and that an end does not lose it. */
import { expect, test } from '@jest/globals'
import type { SharedCounter } from '../../src/state/limiter.ts'
import { type Account, Outbox } from '../../src/state/outbox.ts'
import { EVERYBODY } from '../../src/state/scopes.ts'

const WINDOW = 60_000
function begin() {
  const state = { at: 1000 * WINDOW, open: false, sent: [] as [string, number][] }
  const outbox = new Outbox({ now: () => state.at, open: () => state.open, sent: () => undefined })
  const account = (): Account => ({
    counter: {
      add: (key, amount) => {
        state.sent.push([key, amount])
        return Promise.resolve({ used: amount, waitMs: 0 })
      },
    } as SharedCounter,
    windowMs: WINDOW,
    heard: () => undefined,
  })
  return { state, outbox, account }
}
/** Everything, however many batches that takes. */
function drain({ state, outbox }: ReturnType<typeof begin>): [string, number][] {
  state.open = true
  for (let i = 0; i < 100; i++) outbox.flush()
  outbox.stop()
  return state.sent
}

test('what has become too old while Redis was away makes room for what is new', () => {
  const all = begin()
  const account = all.account()
  for (let i = 0; i < 12_000; i++) all.outbox.add(account, `old${i}`, 1)
  all.state.at += WINDOW
  for (let i = 0; i < 100; i++) all.outbox.add(account, `new${i}`, 1)
  const sent = drain(all)
  expect(sent).toHaveLength(100)
  expect(sent[99]).toEqual(['new99', 1])
})

test('full, it is as full as it was made for', () => {
  const all = begin()
  const account = all.account()
  for (let i = 0; i < 12_000; i++) all.outbox.add(account, `k${i}`, 1)
  expect(drain(all)).toHaveLength(10_000)
})

test('full, it still takes what was counted for everybody', () => {
  const all = begin()
  const [narrow, wide] = [all.account(), all.account()]
  for (let i = 0; i < 12_000; i++) all.outbox.add(narrow, `k${i}`, 1)
  for (let i = 0; i < 3; i++) all.outbox.add(wide, EVERYBODY, 1)
  const sent = drain(all)
  expect(sent).toHaveLength(10_001)
  expect(sent.at(-1)).toEqual([EVERYBODY, 3])
})

test('at its end it says what it has, where Redis is there', () => {
  const all = begin()
  all.outbox.add(all.account(), 'a', -1)
  all.state.open = true
  all.outbox.stop()
  expect(all.state.sent).toEqual([['a', -1]])
})
