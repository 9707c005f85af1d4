/** What Spillway is told of the lab's senders before the flood: what an operator's log would show, and no more. */
import { expect, test } from '@jest/globals'
import { pastOf } from '../../bench/flood/past.ts'
import { populationOf, turning } from '../../bench/flood/population.ts'
import { LogLines } from '../../src/cli/learn/read.ts'
import { LARGE } from '../../src/cli/senders/honest.ts'
import { standingAlone } from '../../src/overload/standing.ts'
import { CLIENTS, History } from '../../src/state/history.ts'

const DAY = 86_400_000
const now = Date.parse('2026-11-20T12:00:00Z')
const population = populationOf({ seed: 1, scale: 0.05 })
const lines = pastOf(population, { perSecond: 0.7, seed: 1, now })

function learnt() {
  const clock = { at: now }
  const history = new History({
    standingAlone: (own) => standingAlone(own, { after: 3, days: 2 }),
    ttlMs: () => 100 * DAY,
    now: () => clock.at,
    seed: Buffer.alloc(8, 1),
    capacity: CLIENTS,
  })
  const reader = new LogLines(
    (ip, lesson, at) => {
      clock.at = at
      history.learn(ip, lesson)
    },
    now,
    2,
  )
  for (const line of lines.split('\n')) reader.line(line)
  clock.at = now
  history.sweep(1)
  return { history, read: reader.read }
}

test('spillway learn understands every line', () => {
  const { read } = learnt()
  expect(read.foreign).toBe(0)
  expect(read.used).toBe(read.lines)
})

test('it is told of every established sender, and of nobody else', () => {
  const told = new Set(
    lines
      .trim()
      .split('\n')
      .map((line) => line.split(',')[0]),
  )
  const theirs = Array.from({ length: population.count }, (_, rank) => population.established(rank).addresses)
  for (const addresses of theirs) expect(addresses.some((each) => told.has(each))).toBe(true)
  const ofSeveral = theirs.slice(0, LARGE).filter((addresses) => addresses.length > 1)
  expect(ofSeveral.length).toBeGreaterThan(0)
  for (const addresses of ofSeveral) expect(addresses.every((each) => told.has(each))).toBe(true)
  const all = new Set(theirs.flat())
  for (const each of told) expect(all).toContain(each)
  expect(told).not.toContain(population.stranger().addresses[0])
  expect(told).toContain(turning(population).addresses[0])
})

test('nearly all are known by it with the shipped settings, and some have sent once only', () => {
  const { history } = learnt()
  const [known, seen] = [history.count('known'), history.count('seen')]
  expect(seen / population.count).toBeGreaterThan(0.02)
  expect(known).toBeGreaterThan(10 * seen)
})
