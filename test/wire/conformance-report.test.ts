/** docs/conformance.md tells what ran, and misses no statement. */
import { describe, expect, test } from '@jest/globals'
import { collect, conformanceMarkdown, gaps, type Ran } from './conformance-report.ts'
import { cited, GROUPS, STATEMENTS } from './statements.ts'

const ran = (path: readonly string[], status = 'passed', file = 'test/wire/a.test.ts'): Ran => ({ file, path, status })
const all = [...STATEMENTS.keys()].map((number) => ran([`${number} holds`]))
const rowsOf = (tests: readonly Ran[], number: string) =>
  collect(tests, () => [])
    .get(number)
    ?.map(({ name, servers, tests: count, failed }) => ({ name, servers: [...servers], count, failed }))

test('the statements are numbered in order, each once, and none of the first 45 is missing', () => {
  const numbers = [...STATEMENTS.keys()].map((name) => Number(name.slice(1)))
  expect(numbers.slice(0, 45)).toEqual(Array.from({ length: 45 }, (_, i) => i + 1))
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
  expect(GROUPS.flatMap(({ statements }) => Object.keys(statements))).toHaveLength(STATEMENTS.size)
})

test('a title cites each number once, and only whole ones', () => {
  expect(cited('R5 R12 the 550 5.1.1, R5 again, not R0, CR2 or R3x')).toEqual(['R5', 'R12'])
})

describe('rows', () => {
  test('one test on several servers is one row, with all of them', () => {
    const path = (server: string) => [`with ${server}`, 'R7 the greeting']
    expect(rowsOf([ran(path('Exim')), ran(path('Postfix'), 'failed')], 'R7')).toEqual([
      { name: 'R7 the greeting', servers: ['Exim', 'Postfix'], count: 2, failed: 1 },
    ])
  })

  test('a table of tests under one title is one row', () => {
    const tests = ['a', 'b', 'c'].map((each) => ran(['block', 'R44 addresses', each]))
    expect(rowsOf(tests, 'R44')).toEqual([{ name: 'block › R44 addresses', servers: [], count: 3, failed: 0 }])
  })

  test('a test that cites two statements stands with both', () => {
    const found = collect([ran(['R1 R2 both'])], () => ['Postfix'])
    expect([...found.keys()]).toEqual(['R1', 'R2'])
    expect([...(found.get('R2')?.[0]?.servers ?? [])]).toEqual(['Postfix'])
  })
})

describe('gaps', () => {
  const found = (tests: readonly Ran[]) => gaps(collect(tests, () => []))
  test('none where each statement has a test', () => expect(found(all)).toEqual([]))
  test('a statement without one', () => expect(found(all.slice(1))).toEqual(['R1 has no test']))
  test('one whose tests were not run', () => {
    expect(found([...all.slice(1), ran(['R1 skipped'], 'pending')])).toEqual(['R1 has no test'])
  })
  test('a number that is no statement', () =>
    expect(found([...all, ran(['R99 what'])])).toEqual(['R99 is no statement']))
})

describe('the document', () => {
  test('says what fails, and what is not run', () => {
    const tests = [ran(['R1 a'], 'failed'), ran(['R2 b'], 'pending'), ran(['R2 c']), ...all.slice(2)]
    const text = conformanceMarkdown(collect(tests, () => []))
    expect(text).toContain('| [R1](#r1) | 1 |  | **1 of 1 fail** |')
    expect(text).toContain('| [R2](#r2) | 2 |  | **1 of 2 not run** |')
    expect(text).toContain('| [R3](#r3) | 1 |  | holds |')
  })

  test('folds the rows of a long table into one, and counts them all', () => {
    const tests = Array.from({ length: 12 }, (_, i) => ran(['block', `R1 cell ${i}`], i === 3 ? 'failed' : 'passed'))
    const text = conformanceMarkdown(collect(tests, () => ['Exim']))
    expect(text).toContain('| block › R1 cell 0, and 11 more like it (12 tests) | Exim | **1 of 12 fail** |')
    expect(text).not.toContain('cell 1')
    expect(conformanceMarkdown(collect(tests.slice(2), () => []))).toContain('| block › R1 cell 11 |')
  })

  test('does not depend on the order in which files ran', () => {
    const tests = [...all, ran(['R1 z']), ran(['R1 a'], 'passed', 'test/a.test.ts')]
    const text = (order: readonly Ran[]) => conformanceMarkdown(collect(order, () => ['Exim', 'Postfix']))
    expect(text(tests.toReversed())).toBe(text(tests))
  })

  test('is a table whatever stands in a title', () => {
    const text = conformanceMarkdown(collect([ran(['R1 a|b <c> `d` *e* \\ \0'])], () => []))
    expect(text).toContain('| R1 a\\|b &lt;c&gt; \\`d\\` \\*e\\* \\\\ \\\\x00 |')
  })
})
