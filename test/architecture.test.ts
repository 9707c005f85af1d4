/** The floors: what may import what. Everything that can be told from the text of the files alone is told here. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { describe, expect, test } from '@jest/globals'

const SRC = resolve(import.meta.dirname, '../src')

/** From the lowest up; folders in one row are on one floor. */
const FLOORS = [
  ['core'],
  ['config'],
  ['telemetry'],
  ['state', 'dns', 'kernel'],
  ['overload'],
  ['relay', 'checks'],
  ['front', 'admin'],
  ['build'],
]
/**
 * Within a folder, from the lowest up; parts in one row never import each other. A part is a folder, or a file that stands
 * in the folder itself.
 */
const PARTS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  relay: [['smtp'], ['pool'], ['transaction']],
  front: [
    [
      'served.ts',
      'evidence.ts',
      'queue-id.ts',
      'refusal-counts.ts',
      'client-domains.ts',
      'session-record.ts',
      'shown-address.ts',
    ],
    [
      'certificates.ts',
      'reply.ts',
      'lesson.ts',
      'recipient-answer.ts',
      'network-shares.ts',
      'session-ring.ts',
      'session-to-keep.ts',
      'session-kind.ts',
      'known-refused.ts',
    ],
    ['recent-sessions.ts'],
    ['outcome.ts'],
    ['gate', 'session'],
    ['connection.ts'],
  ],
}
const APP = FLOORS.length
const TOP = APP + 1

interface File {
  /** Under src/, with slashes. */
  readonly path: string
  readonly text: string
  /** Of our own files: paths under src/. */
  readonly own: readonly string[]
  readonly packages: readonly string[]
}

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s*'([^']+)'|(?:^|\n)\s*import\s*'([^']+)'|\bimport\('([^']+)'\)/g

function read(path: string): File {
  const text = readFileSync(join(SRC, path), 'utf8')
  const specifiers = [...text.matchAll(IMPORT)].map(([, a, b, c]) => (a ?? b ?? c) as string)
  const own = specifiers
    .filter((each) => each.startsWith('.'))
    .map((each) =>
      relative(SRC, resolve(SRC, dirname(path), each))
        .split(sep)
        .join('/'),
    )
  return { path, text, own, packages: specifiers.filter((each) => !/^(\.|node:)/.test(each)) }
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((path) => path.split(sep).join('/'))
  .filter((path) => path.endsWith('.ts'))
  .map(read)

const folderOf = (path: string): string => (path.includes('/') ? (path.split('/')[0] as string) : '')

function floorOf(path: string): number {
  if (path === 'main.ts' || path.startsWith('cli/')) return TOP
  if (path === 'app.ts') return APP
  const floor = FLOORS.findIndex((folders) => folders.includes(folderOf(path)))
  if (floor < 0) throw new Error(`${path} is on no floor`)
  return floor
}

describe('floors', () => {
  test('there is something to look at, and every file is on a floor', () => {
    expect(files.length).toBeGreaterThan(40)
    for (const { path } of files) expect(floorOf(path)).toBeGreaterThanOrEqual(0)
  })

  test('a file imports only from its own folder or from a lower floor', () => {
    const wrong: string[] = []
    for (const { path, own } of files) {
      for (const target of own) {
        const same = folderOf(path) === folderOf(target) && folderOf(path) !== ''
        const program = floorOf(path) === TOP && floorOf(target) === TOP
        if (!same && !program && floorOf(target) >= floorOf(path)) wrong.push(`${path} imports ${target}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('within relay/ and front/, a file imports only from its own part or from a lower one', () => {
    const wrong: string[] = []
    for (const [folder, rows] of Object.entries(PARTS)) {
      const partOf = (path: string): string => path.split('/')[1] as string
      const rankOf = (path: string): number => rows.findIndex((row) => row.includes(partOf(path)))
      for (const { path, own } of files.filter((each) => folderOf(each.path) === folder)) {
        expect({ path, rank: rankOf(path) }).not.toEqual({ path, rank: -1 })
        for (const target of own.filter((each) => folderOf(each) === folder)) {
          const lower = rankOf(target) < rankOf(path)
          if (!lower && partOf(target) !== partOf(path)) wrong.push(`${path} imports ${target}`)
        }
      }
    }
    expect(wrong).toEqual([])
  })

  test('there are no cycles, not even of types', () => {
    const imports = new Map(files.map(({ path, own }) => [path, own]))
    const done = new Set<string>()
    const cycles: string[] = []
    const visit = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) {
        cycles.push([...way.slice(way.indexOf(path)), path].join(' -> '))
        return
      }
      if (done.has(path)) return
      for (const next of imports.get(path) ?? []) visit(next, [...way, path])
      done.add(path)
    }
    for (const { path } of files) visit(path, [])
    expect(cycles).toEqual([])
  })

  test('whatever is imported exists, under its full name', () => {
    const known = new Set(files.map(({ path }) => path))
    const missing = files.flatMap(({ path, own }) =>
      own.filter((each) => !known.has(each)).map((to) => `${path}: ${to}`),
    )
    expect(missing).toEqual([])
  })
})

describe('homes', () => {
  const HOMES: [string, readonly string[]][] = [
    ['smtp-server', ['front/session/transport.ts', 'front/session/wire-stream.ts']],
    ['prom-client', ['telemetry/metrics.ts', 'telemetry/series.ts', 'telemetry/together.ts']],
    ['pino', ['telemetry/log.ts']],
    ['sonic-boom', ['telemetry/log.ts']],
    ['ip-cidr', ['core/ip.ts']],
    ['ioredis', ['state/redis.ts']],
    ['rate-limiter-flexible', ['state/limiter.ts']],
    ['tldts', ['dns/organisation.ts']],
  ]
  test.each(HOMES)('%s is imported in its home only', (name, home) => {
    const users = files
      .filter(({ path }) => !path.startsWith('cli/demo/'))
      .filter(({ packages }) => packages.some((each) => each === name || each.startsWith(`${name}/`)))
      .map(({ path }) => path)
    expect(users.sort()).toEqual([...home].sort())
  })

  test('no other package is used than those that are declared', () => {
    const declared = JSON.parse(readFileSync(join(SRC, '../package.json'), 'utf8')) as { dependencies: object }
    const names = new Set(files.flatMap(({ packages }) => packages.map((each) => each.split('/')[0] as string)))
    for (const name of names) expect(Object.keys(declared.dependencies)).toContain(name)
  })
})

describe('length', () => {
  const MOST_LINES = 300
  /** The comment that a file begins with, on one line. */
  const headOf = (text: string): string =>
    (/^(?:#!.*\n)?\/\*\*([\s\S]*?)\*\//.exec(text)?.[1] ?? '').replace(/\s+(?:\*\s+)?/g, ' ')

  test('a file of more than 300 lines says why in its head, and no other file does', () => {
    const long = files.filter(({ text }) => text.split('\n').length - 1 > MOST_LINES)
    const excused = files.filter(({ text }) => headOf(text).includes('The file is longer than others because'))
    expect(excused.map(({ path }) => path)).toEqual(long.map(({ path }) => path))
  })
})

/** Without comments, strings and patterns, as far as that can be told without a parser. */
const code = (text: string): string =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, ' ')
    .replace(/(^|\s)\/\/.*$/gm, ' ')
    .replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/g, "''")

describe('words', () => {
  test('only main.ts and cli/ touch the process', () => {
    const users = files
      .filter(({ path }) => floorOf(path) !== TOP)
      .filter(({ text }) => /\bprocess\b/.test(code(text)) || text.includes("'node:process'"))
      .map(({ path }) => path)
    expect(users).toEqual([])
  })

  test('nothing is put off, and no file is a drawer', () => {
    for (const { path, text } of files) {
      expect({ path, left: /\b(TODO|FIXME|XXX|HACK)\b/.exec(text)?.[0] }).toEqual({ path, left: undefined })
      expect(path).not.toMatch(/(utils?|helpers?|manager|common|misc)\.ts$/)
    }
  })
})
