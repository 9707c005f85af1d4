import { describe, expect, test } from '@jest/globals'
import type { Standing } from '../../src/core/client.ts'
import { crowdOf, mostOfNet, Seats } from '../../src/state/seats.ts'

test('seats count by source, neighbourhood, family, strangers and in all, this one included', () => {
  const seats = new Seats()
  const a = seats.take({ source: '192.0.2.1', net: '192.0.2.0/24', family: 4, standing: 'new' })
  const b = seats.take({ source: '192.0.2.1', net: '192.0.2.0/24', family: 4, standing: 'seen' })
  const c = seats.take({ source: '2001:db8::/64', net: '2001:db8::/48', family: 6, standing: 'new' })
  expect([a.open, b.open, c.open]).toEqual([
    { source: 1, net: 1, strangers: 1, total: 1 },
    { source: 2, net: 1, strangers: 1, total: 2 },
    { source: 1, net: 1, strangers: 2, total: 3 },
  ])
  expect([seats.total, seats.ofFamily(4), seats.ofFamily(6)]).toEqual([3, 2, 1])
})

test('R42 a seat frees itself once, however often it is told', () => {
  const seats = new Seats()
  const a = seats.take({ source: '192.0.2.1', net: '192.0.2.0/24', family: 4, standing: 'new' })
  const b = seats.take({ source: '192.0.2.1', net: '192.0.2.0/24', family: 4, standing: 'new' })
  a.free()
  a.free()
  a.free()
  expect([seats.total, seats.ofFamily(4)]).toEqual([1, 1])
  expect(seats.take({ source: '192.0.2.1', net: '192.0.2.0/24', family: 4, standing: 'new' }).open).toEqual({
    source: 2,
    net: 2,
    strangers: 2,
    total: 2,
  })
  b.free()
  expect(seats.total).toBe(1)
  expect([...seats.ofNets()]).toEqual([1])
})

test('a neighbourhood without a connection takes no room', () => {
  const seats = new Seats()
  const taken = Array.from({ length: 9 }, (_, i) =>
    seats.take({ source: `${i}`, net: `net ${i}`, family: 4, standing: i % 2 === 0 ? 'new' : 'known' }),
  )
  for (const seat of taken) seat.free()
  expect([...seats.ofNets()]).toEqual([])
})

describe('how many seats a neighbourhood may hold', () => {
  test.each([
    ['half of all, if nobody else is there', 20_000, 5, 5, 10_000],
    ['half of what all others leave', 20_000, 12_010, 10, 4000],
    ['a hundred, however full it is', 20_000, 20_000, 1, 100],
    ['a hundred at a small node', 150, 1, 1, 100],
  ])('%s', (_, max, taken, ofNet, most) => {
    expect(mostOfNet(max, taken, ofNet)).toBe(most)
  })

  test.each([1, 2, 3, 9])('%i greedy neighbourhoods leave an equal part to the others', (greedy) => {
    const seats = new Seats()
    const max = 1200
    let got = 0
    for (let i = 0; i < greedy * max; i++) {
      const net = `net ${i % greedy}`
      const seat = seats.take({ source: `${net}, client ${i}`, net, family: 4, standing: 'new' })
      if (seat.open.net > mostOfNet(max, seat.open.total, seat.open.net)) seat.free()
      else got++
    }
    expect(Math.abs(max - got - max / (greedy + 1))).toBeLessThanOrEqual(greedy)
  })
})

describe('a neighbourhood that has too many', () => {
  const of = (standing: Standing, counts: { net: number; strangers: number; total: number }) =>
    crowdOf({ standing }, { source: 1, ...counts }, 20_000, () => 14_000)

  test.each([
    ['strangers: half of their part, and one more', 'new', { total: 7001, strangers: 7001, net: 7001 }, 7000],
    ['half of what other strangers leave of it', 'suspect', { total: 12_000, strangers: 12_000, net: 7000 }, 4500],
    ['whatever friends hold', 'new', { total: 19_000, strangers: 9000, net: 7000 }, 6000],
    ['friends: half of all, and one more', 'known', { total: 10_001, strangers: 0, net: 10_001 }, 10_000],
    ['half of what everybody else leaves', 'seen', { total: 12_000, strangers: 5000, net: 7000 }, undefined],
    ['trusted clients are exempt', 'trusted', { total: 20_000, strangers: 0, net: 20_000 }, undefined],
    ['a hundred are never too many', 'new', { total: 20_000, strangers: 14_000, net: 100 }, undefined],
  ] as const)('%s', (_, standing, counts, max) => {
    expect(of(standing, counts)).toEqual(max && { used: counts.net, max })
  })

  test('a crowd of strangers does not count against the friends beside it, nor they against it', () => {
    const seats = new Seats()
    const take = (standing: Standing) => seats.take({ source: 's', net: 'n', family: 4, standing })
    for (let i = 0; i < 300; i++) take('new')
    expect(take('known').open.net).toBe(1)
    expect(take('new').open.net).toBe(301)
    expect([...seats.ofNets()]).toEqual([302])
  })

  test("k of them leave a part of strangers' seats to other strangers", () => {
    const seats = new Seats()
    let got = 0
    for (let i = 0; i < 6000; i++) {
      const client = { source: `${i}`, net: `net ${i % 3}`, family: 6, standing: 'new' } as const
      const seat = seats.take(client)
      if (crowdOf(client, seat.open, 2000, () => 1400) === undefined) got++
      else seat.free()
    }
    expect(Math.abs(got - 1050)).toBeLessThanOrEqual(3)
  })
})
