/** One table of all scenarios: what was met, what was missed, and under which conditions. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { SCENARIOS } from '../../bench/flood/scenarios.ts'
import { SHORT } from '../../bench/flood/short.ts'
import { summary } from '../../bench/flood/summary.ts'

const tally = { sent: 10, tried: 10, atFirstTry: 10, within30Min: 10, lost: 0, twice: 0, putOffByUs: 0, refusedByUs: 0 }
const result = (lost: number, idle: number, dropped = 0) => ({
  ...{ contender: 'spillway', isFullFlood: false, isDotTrue: true, isFirstDay: false, isCut: false, overCapacity: 1 },
  ...{ scale: 1, idle, dropped, command: 'npm run bench:flood -- --scenario all', figures: [] },
  classes: { known: { ...tally, lost }, 'first contact': tally, spam: tally },
})

test('a missed goal is written as missed, and a run that is no result as none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-summary-'))
  try {
    writeFileSync(join(folder, 'S1.json'), JSON.stringify([result(0, 0.5)]))
    // JSON has no NaN: a figure that a run could not tell.
    const unknown = { goal: 'a figure', value: Number.NaN, limit: { atMost: 1 } }
    writeFileSync(join(folder, 'S2.json'), JSON.stringify([{ ...result(3, 0.05, 7), figures: [unknown] }]))
    const { figures: _, ...older } = result(0, 0.5)
    writeFileSync(join(folder, 'S4.json'), JSON.stringify([older]))
    const text = summary(folder, [
      { name: 'S1', title: 'one' },
      { name: 'S2', title: 'two' },
      { name: 'S3', title: 'not run' },
      { name: 'S4', title: 'four' },
    ])
    expect(text).toContain('7 of 9 goals are met')
    const rows = text.split('\n').filter((line) => line.startsWith('| S'))
    expect(rows.filter((row) => row.includes('**missed**')).map((row) => row.split('|')[2]?.trim())).toEqual([
      'honest mail lost',
      'a figure',
    ])
    expect(rows[0]).toMatch(/honest mail lost \| +0 \(goal: at most 0\) \| +met/)
    expect(text).toContain('- S1, one: scale 1; machine idle: spillway 50 %\n')
    expect(text).toContain('machine idle: **spillway 5 %**; **7 visits could not be made: no result**')
    expect(text).toContain('    npm run bench:flood -- --scenario all\n')
    expect(text).toContain('- S4, four: not in the table, as S4.json has no figures for its goals: run it again\n')
    expect(rows.some((row) => row.includes('S4'))).toBe(false)
    expect(text).not.toContain('S3')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('each scenario has a short form, in which all that happens to it happens in time', () => {
  expect(Object.keys(SHORT).toSorted()).toEqual(SCENARIOS.map(({ name }) => name).toSorted())
  for (const scenario of SCENARIOS) {
    for (const { name, seconds, ...each } of [scenario, { ...scenario, ...SHORT[scenario.name] }]) {
      const { handshakes = [], redis = [], kills = [], slowMailbox = [], directory, stall, down, slow, burst } = each
      const spans = [...handshakes, ...redis, directory, stall, burst].flatMap((span) => span ?? [])
      const ends = [...spans.map(({ atS, forS }) => atS + forS), ...kills, ...slowMailbox.map(({ atS }) => atS)]
      const begins = [each.turnsBad, down, slow].flatMap((thing) => thing?.atS ?? [])
      expect({ name, last: Math.max(0, ...ends, ...begins) <= seconds }).toEqual({ name, last: true })
    }
  }
})
