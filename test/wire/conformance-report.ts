/**
 * docs/conformance.md, as a pure function of what a run of all tests has shown: which tests cite a statement, which mail
 * servers stood behind, and whether they held. A statement without a test that ran is a gap.
 */
import { cited, GROUPS, STATEMENTS } from './statements.ts'

/** One test as jest tells of it. */
export interface Ran {
  /** From the root of the project. */
  readonly file: string
  /** Titles of the blocks around it and its own, from the outside in. */
  readonly path: readonly string[]
  readonly status: string
}

/** Tests of one file with one name, on however many servers. */
interface Row {
  readonly file: string
  readonly name: string
  readonly servers: Set<string>
  tests: number
  failed: number
  notRun: number
}

/** Names of mail servers in the order of the document. A block of tests is called `with …` after those it runs against. */
export const SERVER_NAMES = ['the scripted upstream', 'Postfix', 'Exim', 'OpenSMTPD'] as const
const isWith = (title: string): boolean =>
  title.startsWith('with ') && SERVER_NAMES.some((name) => title.includes(name))

/** The path without the server, cut at the last title that cites a number: rows of a table are one entry. */
function nameOf(path: readonly string[]): string {
  const titles = path.filter((title) => !isWith(title))
  const last = titles.findLastIndex((title) => cited(title).length > 0)
  return titles.slice(0, last + 1).join(' › ')
}

/** By statement, those that cite it. @param behind the servers a file runs against, where its titles do not say */
export function collect(tests: readonly Ran[], behind: (file: string) => readonly string[]): Map<string, Row[]> {
  const found = new Map<string, Map<string, Row>>()
  for (const { file, path, status } of tests) {
    const named = path.filter(isWith)
    const servers = named.length === 0 ? behind(file) : SERVER_NAMES.filter((name) => named.join().includes(name))
    for (const number of cited(path.join(' '))) {
      const rows = found.get(number) ?? new Map<string, Row>()
      found.set(number, rows)
      const name = nameOf(path)
      const row = rows.get(`${file}\n${name}`) ?? { file, name, servers: new Set(), tests: 0, failed: 0, notRun: 0 }
      rows.set(`${file}\n${name}`, row)
      row.tests++
      for (const server of servers) row.servers.add(server)
      if (status === 'failed') row.failed++
      else if (status !== 'passed') row.notRun++
    }
  }
  const order = (a: Row, b: Row): number => (a.file === b.file ? less(a.name, b.name) : less(a.file, b.file))
  return new Map([...found].map(([number, rows]) => [number, [...rows.values()].sort(order)]))
}

/** By code units: the same on every machine. */
const less = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Statements that no test has held against the program, and numbers that stand for nothing. */
export function gaps(found: ReadonlyMap<string, readonly Row[]>): string[] {
  const untested = [...STATEMENTS.keys()].filter((number) =>
    (found.get(number) ?? []).every((row) => row.notRun === row.tests),
  )
  const unknown = [...found.keys()].filter((number) => !STATEMENTS.has(number))
  return [...untested.map((number) => `${number} has no test`), ...unknown.map((number) => `${number} is no statement`)]
}

/** More tests of one kind than this, in one file, are one entry: they are the rows of a table that stands there. */
const MANY = 10

/** Of one kind are tests in one block that cite the same numbers. */
const kindOf = ({ file, name }: Row): string => {
  const block = name.slice(0, name.lastIndexOf(' › ') + 1)
  return JSON.stringify([file, block, cited(name)])
}

function foldMany(rows: readonly Row[]): Row[] {
  const kinds = Map.groupBy(rows, kindOf)
  return [...kinds.values()].flatMap((same) => {
    const [first] = same
    if (first === undefined || same.length <= MANY) return same
    const sum = (of: 'tests' | 'failed' | 'notRun'): number => same.reduce((all, row) => all + row[of], 0)
    const servers = new Set(same.flatMap((row) => [...row.servers]))
    const name = `${first.name}, and ${same.length - 1} more like it`
    return [{ file: first.file, name, servers, tests: sum('tests'), failed: sum('failed'), notRun: sum('notRun') }]
  })
}

const resultOf = ({ tests, failed, notRun }: Row): string =>
  failed > 0 ? `**${failed} of ${tests} fail**` : notRun > 0 ? `**${notRun} of ${tests} not run**` : 'holds'

const serversOf = (servers: ReadonlySet<string>): string =>
  SERVER_NAMES.filter((name) => servers.has(name))
    .map((name) => name.replace('the scripted upstream', 'scripted'))
    .join(', ')

const asCell = (text: string): string =>
  // What a table of Markdown would take for something else; control characters are shown, not written.
  text
    .replace(/[\\`*_{}[\]|~$]/g, '\\$&')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
    .replace(/[\x00-\x1f\x7f]/g, (char) => `\\\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)

const count = (tests: number): string => (tests === 1 ? '' : ` (${tests} tests)`)

export function conformanceMarkdown(found: ReadonlyMap<string, readonly Row[]>): string {
  const lines = [
    '<!-- generated by `npm test`, at the end of a run of all tests; do not edit -->',
    '# Conformance',
    '',
    'What the wire must show, statement by statement, the tests that cite it by its number, and the mail servers that stood',
    'behind Spillway in them: real ones from Debian packages, run privately, and a scripted one (`scripted`) for what a real',
    'one cannot be made to show: a reply in pieces or before its time, 421 or silence or a close at any point. Where no',
    'server is named a part is tested by itself. A run of all tests fails where a statement has none.',
    '',
    '| statement | tests | mail servers | result |',
    '|---|---|---|---|',
  ]
  for (const number of STATEMENTS.keys()) {
    const rows = found.get(number) ?? []
    const sum = (of: 'tests' | 'failed' | 'notRun'): number => rows.reduce((all, row) => all + row[of], 0)
    const servers = new Set(rows.flatMap((row) => [...row.servers]))
    const all = { file: '', name: '', servers, tests: sum('tests'), failed: sum('failed'), notRun: sum('notRun') }
    const result = all.tests === 0 ? '**no test**' : resultOf(all)
    lines.push(`| [${number}](#${number.toLowerCase()}) | ${all.tests} | ${serversOf(servers)} | ${result} |`)
  }
  for (const { title, statements } of GROUPS) {
    lines.push('', `## ${title}`)
    for (const [number, text] of Object.entries(statements)) {
      lines.push('', `### ${number}`, '', text, '', '| test | mail servers | result |', '|---|---|---|')
      let file = ''
      for (const row of foldMany(found.get(number) ?? [])) {
        if (row.file !== file) lines.push(`| [${row.file}](../${row.file}) | | |`)
        file = row.file
        lines.push(`| ${asCell(row.name)}${count(row.tests)} | ${serversOf(row.servers)} | ${resultOf(row)} |`)
      }
    }
  }
  return `${lines.join('\n')}\n`
}
