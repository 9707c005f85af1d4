/** How long a mail server takes to accept messages: what counts, and what says nothing. */
import { describe, expect, test } from '@jest/globals'
import { DotTimes, LEAST, NETS, WINDOW_MS } from '../../src/overload/dot-times.ts'

const MAY_TAKE_MS = 5000

const netOf = (i: number, nets: number): string => `198.51.${i % nets}.0/24`

/** Messages that were answered at `now`, of as many neighbourhoods by turns. */
function answered(
  dots: DotTimes,
  count: number,
  ms: number,
  { now = 100_000, octets = 0, isAccepted = true, nets = NETS } = {},
) {
  for (let i = 0; i < count; i++) dots.answered(dots.sent(netOf(i, nets), now - ms), octets, isAccepted, now)
}
const p95 = (dots: DotTimes, now = 100_000): number | undefined => dots.p95(now, MAY_TAKE_MS)

test('the 95th percentile, from twenty messages on', () => {
  const dots = new DotTimes()
  answered(dots, LEAST - 1, 8000)
  expect(LEAST).toBe(20)
  expect(p95(dots)).toBeUndefined()
  answered(dots, 1, 100)
  expect(p95(dots)).toBe(8000)
})

test('a quiet night with three slow messages says nothing, and one slow message of twenty neither', () => {
  const night = new DotTimes()
  answered(night, 3, 60_000)
  expect(p95(night)).toBeUndefined()
  const dots = new DotTimes()
  answered(dots, 19, 200, { nets: 1 })
  for (const net of ['a', 'b', 'c', 'd']) dots.answered(dots.sent(net, 40_000), 0, true, 100_000)
  expect(p95(dots)).toBe(60_000)
  answered(dots, 76, 200, { nets: 1 })
  expect(p95(dots)).toBe(200)
})

test('a second for each megabyte is set off', () => {
  const dots = new DotTimes()
  answered(dots, 20, 9000, { octets: 8_000_000 })
  expect(p95(dots)).toBe(1000)
  const quick = new DotTimes()
  answered(quick, 20, 100, { octets: 8_000_000 })
  expect(p95(quick)).toBe(0)
})

test('refusals are no sign of load, however long they take', () => {
  const dots = new DotTimes()
  answered(dots, 100, 30_000, { isAccepted: false })
  expect(p95(dots)).toBeUndefined()
  answered(dots, 20, 300)
  expect(p95(dots)).toBe(300)
})

test('what is older than half a minute says nothing', () => {
  const dots = new DotTimes()
  answered(dots, 20, 8000)
  expect(p95(dots, 100_000 + WINDOW_MS)).toBe(8000)
  expect(p95(dots, 100_001 + WINDOW_MS)).toBeUndefined()
})

test('the latest 512 messages count, and memory is bounded', () => {
  const dots = new DotTimes()
  answered(dots, 1000, 8000)
  answered(dots, 512, 100)
  expect(p95(dots)).toBe(100)
})

describe('one sender of slow mail among others', () => {
  test.each([1, 4])('says nothing: %i neighbourhoods, and most of the mail is theirs', (nets) => {
    const dots = new DotTimes()
    answered(dots, 30, 200, { nets: 10 })
    for (let i = 0; i < 100; i++) dots.answered(dots.sent(`203.0.${i % nets}.0/24`, 91_000), 0, true, 100_000)
    expect(p95(dots)).toBe(200)
  })

  test('nor do a twentieth of all, as long as they are less than half of the neighbourhoods', () => {
    const dots = new DotTimes()
    answered(dots, 100, 200, { nets: 10 })
    for (let i = 0; i < 90; i++) dots.answered(dots.sent(`203.0.${i % 9}.0/24`, 91_000), 0, true, 100_000)
    expect(p95(dots)).toBe(200)
    for (let i = 0; i < 2; i++) dots.answered(dots.sent(`203.0.${9 + i}.0/24`, 91_000), 0, true, 100_000)
    expect(p95(dots)).toBe(9000)
  })

  test('says nothing where there are no others', () => {
    const dots = new DotTimes()
    answered(dots, 100, 9000, { nets: 4 })
    expect(p95(dots)).toBeUndefined()
    answered(dots, 5, 9000, { nets: 5 })
    expect(p95(dots)).toBe(9000)
  })

  test('nor does one whose messages the server holds and answers nobody', () => {
    const dots = new DotTimes()
    for (let i = 0; i < 50; i++) dots.sent(netOf(0, 1), 0)
    expect(p95(dots, 30_000)).toBeUndefined()
  })
})

describe('messages that wait', () => {
  test('count where the server answers nothing any more', () => {
    const dots = new DotTimes()
    for (let i = 0; i < 20; i++) dots.sent(netOf(i, NETS), 0)
    expect(p95(dots, MAY_TAKE_MS - 1)).toBeUndefined()
    expect(p95(dots, MAY_TAKE_MS)).toBe(MAY_TAKE_MS)
    expect(p95(dots, 30_000)).toBe(30_000)
  })

  test('do not count while it answers others: a filter that takes its time over spam', () => {
    const dots = new DotTimes()
    for (let i = 0; i < 50; i++) dots.sent(netOf(i, NETS), 80_000)
    answered(dots, 1, 10_000, { isAccepted: false })
    answered(dots, 20, 100)
    expect(p95(dots)).toBe(100)
  })

  test('are forgotten when their connection is gone', () => {
    const dots = new DotTimes()
    const sent = Array.from({ length: 30 }, (_, i) => dots.sent(netOf(i, NETS), 0))
    for (const dot of sent) dots.lost(dot)
    expect(p95(dots, 60_000)).toBeUndefined()
  })
})
