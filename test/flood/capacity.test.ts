/** What the lab's cluster can take, by a clock that the test holds. */
import { expect, test } from '@jest/globals'
import { QueueBehind, sizeOf, Workers } from '../../bench/flood/capacity.ts'

test('a cluster of a part of the capacity has a part of the workers and places, and takes as long for a message', () => {
  const [whole, tenth] = [sizeOf(41.7), sizeOf(4.17)]
  expect(whole).toMatchObject({ workers: 10, places: 100 })
  expect(tenth).toMatchObject({ workers: 1, places: 10 })
  expect(new Workers(whole).dot(0)).toBeCloseTo(240, 0)
  expect(new Workers(tenth).dot(0)).toBeCloseTo(240, 0)
})

test('while workers are free a message takes one turn; more than it can take wait for each other', () => {
  const workers = new Workers({ perSecond: 20, workers: 2, places: 10 })
  const done = Array.from({ length: 6 }, () => workers.dot(1000))
  expect(done).toEqual([1100, 1100, 1200, 1200, 1300, 1300])
  // After a rest it is as at the beginning: nothing is saved up.
  expect(workers.dot(9000)).toBe(9100)
})

test('in a minute it takes what it is told, and no more', () => {
  const workers = new Workers(sizeOf(41.7))
  let count = 0
  while (workers.dot(0) <= 60_000) count++
  expect(count / 60).toBeCloseTo(41.7, 0)
})

test('a stall holds up what is under way and what comes, and ends', () => {
  const workers = new Workers({ perSecond: 10, workers: 1, places: 10 })
  workers.dot(0)
  workers.stall(50, 60_000)
  expect(workers.stalledFor(1050)).toBe(59_000)
  expect(workers.dot(1050)).toBe(60_200)
  expect(workers.stalledFor(60_050)).toBe(0)
  expect(workers.dot(70_000)).toBe(70_100)
  const idle = new Workers({ perSecond: 10, workers: 1, places: 10 })
  idle.stall(0, 5000)
  expect(idle.dot(1000)).toBe(5100)
})

test('a queue behind the dot grows by what is accepted, and is worked off at a steady rate', () => {
  const queue = new QueueBehind(10)
  expect(queue.length(0)).toBe(0)
  for (let i = 0; i < 50; i++) queue.add(1000)
  expect([queue.length(1000), queue.length(3000), queue.length(60_000)]).toEqual([50, 30, 0])
  queue.add(60_000)
  expect(queue.length(60_050)).toBeCloseTo(0.5)
})
