import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { metricsPage, refusalsPage } from '../../src/cli/reference.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'

const inRoot = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('docs/refusals.md is what the table of reasons says (npm run docs)', () => {
  expect(inRoot('docs/refusals.md')).toBe(refusalsPage())
  for (const name of REASON_NAMES) expect(refusalsPage().split(`\n| \`${name}\` |`)).toHaveLength(2)
})

test('docs/metrics.md is what is declared (npm run docs)', async () => {
  expect(inRoot('docs/metrics.md')).toBe(await metricsPage())
})
