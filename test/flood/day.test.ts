/** A day of the cluster's logs, as `spillway learn` reads it. */
import { expect, test } from '@jest/globals'
import { dayOf } from '../../bench/flood/day.ts'
import { toldAs } from '../../bench/flood/names.ts'
import { populationOf } from '../../bench/flood/population.ts'
import { LogLines } from '../../src/cli/learn/read.ts'

const now = Date.parse('2026-11-20T12:00:00Z')
const population = populationOf({ seed: 1, scale: 0.01 })
const lines = dayOf(population, { perSecond: 0.139, seed: 1, now }).trim().split('\n')

test('spillway learn reads every line as Postfix’, and hears of nobody but the established senders', () => {
  const good = new Map<string, number[]>()
  let bad = 0
  const reader = new LogLines(
    (ip, lesson, at) => {
      if (lesson.good === 0) bad++
      else good.set(ip, [...(good.get(ip) ?? []), at])
    },
    now,
    2,
  )
  for (const line of lines) reader.line(line)
  expect(reader.read.foreign).toBe(0)
  const theirs = new Set(
    Array.from({ length: population.count }, (_, rank) => population.established(rank).addresses.map(toldAs)).flat(),
  )
  for (const ip of good.keys()) expect(theirs).toContain(ip)
  expect(good.size / theirs.size).toBeGreaterThan(0.8)
  expect(bad).toBeGreaterThan(0)
  // All of it within a day, in the order in which a log is written.
  const times = lines.map((line) => Date.parse(line.slice(0, 24)))
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(times[0]).toBeGreaterThanOrEqual(now - 86_400_000)
  expect(times.at(-1)).toBeLessThanOrEqual(now + 1)
})
