import { expect, test } from '@jest/globals'
import { Seats } from '../../src/state/seats.ts'

test('seats count by source, family, strangers and in all, this one included', () => {
  const seats = new Seats()
  const a = seats.take({ source: '192.0.2.1', family: 4, standing: 'new' })
  const b = seats.take({ source: '192.0.2.1', family: 4, standing: 'seen' })
  const c = seats.take({ source: '2001:db8::/64', family: 6, standing: 'new' })
  expect([a.open, b.open, c.open]).toEqual([
    { source: 1, strangers: 1, total: 1 },
    { source: 2, strangers: 1, total: 2 },
    { source: 1, strangers: 2, total: 3 },
  ])
  expect([seats.total, seats.ofFamily(4), seats.ofFamily(6)]).toEqual([3, 2, 1])
})

test('R42 a seat frees itself once, however often it is told', () => {
  const seats = new Seats()
  const a = seats.take({ source: '192.0.2.1', family: 4, standing: 'new' })
  const b = seats.take({ source: '192.0.2.1', family: 4, standing: 'new' })
  a.free()
  a.free()
  a.free()
  expect([seats.total, seats.ofFamily(4)]).toEqual([1, 1])
  expect(seats.take({ source: '192.0.2.1', family: 4, standing: 'new' }).open).toEqual({
    source: 2,
    strangers: 2,
    total: 2,
  })
  b.free()
  expect(seats.total).toBe(1)
})
