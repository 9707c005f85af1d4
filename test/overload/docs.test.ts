/** docs/overload.md shows the table of levels, the signals and the figures that the program has. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from '@jest/globals'
import { LEVELS, SIGNALS } from '../../src/core/overload.ts'
import { LEAST, WINDOW_MS } from '../../src/overload/dot-times.ts'
import { FALL_MS } from '../../src/overload/level.ts'
import { type Bounds, boundsOf, LAST_RISE_MS, LEVEL_TABLE, RISE_MS } from '../../src/overload/levels.ts'

const page = readFileSync(resolve(import.meta.dirname, '../../docs/overload.md'), 'utf8')
const NAMES = ['normal', 'elevated', 'stressed', 'shedding new senders', 'survival']

const percent = (share: number): number => Math.round(share * 100)
function shareText({ least, most }: Bounds): string {
  if (most === 0) return 'none'
  if (least === 1) return 'all'
  return least === most ? `${percent(least)} %` : `${percent(least)}–${percent(most)} %`
}

test.each(LEVELS)('level %i has its row', (level) => {
  const { up, down, shrinks, idleMs, delay, refused } = LEVEL_TABLE[level]
  const cells = [
    `${level} ${NAMES[level]}`,
    level === 0 ? '–' : String(up),
    level === 0 ? '–' : String(down),
    shrinks ? '× `LIMIT_STRESS_FACTOR`' : 'as set',
    idleMs === undefined ? 'as set' : `${idleMs / 1000} s`,
    delay === 1 ? 'as set' : `× ${delay}`,
    refused.length === 0 ? '–' : refused.join(', '),
    shareText(boundsOf(level, 'new')),
    shareText(boundsOf(level, 'seen')),
  ]
  expect(page).toContain(`\n| ${cells.join(' | ')} |\n`)
})

test('nobody of whom we know some good is refused at the banner, nor put off while trusted or known', () => {
  for (const level of LEVELS) {
    for (const friend of ['trusted', 'known', 'seen'] as const) {
      expect(LEVEL_TABLE[level].refused).not.toContain(friend)
      if (friend !== 'seen') expect(boundsOf(level, friend)).toEqual({ least: 1, most: 1 })
    }
  }
})

test('at level 0 nothing happens to anybody', () => {
  expect(LEVEL_TABLE[0]).toEqual({
    up: 0,
    riseMs: 0,
    down: 0,
    shrinks: false,
    idleMs: undefined,
    delay: 1,
    refused: [],
    letIn: {},
  })
})

test('every signal is there, and the times are those of the code', () => {
  for (const signal of SIGNALS) expect(page).toContain(`| \`${signal}\` |`)
  expect(page).toContain(`for ${RISE_MS / 1000} s (level 4: ${LAST_RISE_MS / 1000} s), whatever levels`)
  expect(page).toContain(`second mark for ${FALL_MS / 1000} s`)
  expect(page).toContain(`${LEAST} accepted messages within ${WINDOW_MS / 1000} s`)
})
