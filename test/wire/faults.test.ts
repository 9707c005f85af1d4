/** Every cell of docs/faults.md, played; and that the file is what the tables say. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { CLIENT } from './faults-client.ts'
import { faultsMarkdown } from './faults-docs.ts'
import { play } from './faults-play.ts'
import { type Cell, type Expected, FAULTS, type Fault, type Row, STEPS, type Step } from './faults-table.ts'
import { FAILOVER, UPSTREAM } from './faults-upstream.ts'
import { holdWaits } from './faults-waits.ts'

let restore: () => void
beforeAll(() => {
  restore = holdWaits()
})
afterAll(() => restore())

const cells = (rows: readonly Row[], side: Cell['side'], failover = false): [string, Cell, Expected][] =>
  rows.flatMap(({ step, cells: row }) =>
    (Object.keys(FAULTS) as Fault[]).map((fault): [string, Cell, Expected] => [
      `${step}: ${fault}`,
      { side, step, fault, failover },
      row[fault],
    ]),
  )

const check = async (cell: Cell, { why: _, ...seen }: Expected): Promise<void> => {
  expect(await play(cell)).toEqual(seen)
}

describe('R29 R31 R33 R42 the client, at', () => {
  test.concurrent.each(cells(CLIENT, 'client'))('%s', async (_, cell, expected) => check(cell, expected))
})

describe('R29 R30 R33 R42 the upstream, at', () => {
  test.concurrent.each(cells(UPSTREAM, 'upstream'))('%s', async (_, cell, expected) => check(cell, expected))
})

describe('R41 the upstream, with another one, at', () => {
  test.concurrent.each(cells(FAILOVER, 'upstream', true))('%s', async (_, cell, expected) => check(cell, expected))
})

test('no step is left out', () => {
  const stepsOf = (rows: readonly Row[]): Step[] => rows.map(({ step }) => step)
  expect(stepsOf(UPSTREAM)).toEqual(STEPS)
  expect(stepsOf(FAILOVER)).toEqual(STEPS.filter((step) => step !== 'while the upstream does not read'))
  expect(stepsOf(CLIENT).sort()).toEqual(STEPS.filter((step) => step !== 'second EHLO').sort())
})

test('docs/faults.md is what the tables say (node test/wire/faults-docs.ts)', () => {
  expect(readFileSync(new URL('../../docs/faults.md', import.meta.url), 'utf8')).toBe(faultsMarkdown())
})
