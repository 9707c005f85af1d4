/**
 * Writes docs/conformance.md when all tests have run, and fails the run where a statement has no test. A run of some
 * files, or of tests picked by name, leaves the document alone: it would say less than is true.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { collect, conformanceMarkdown, gaps, type Ran } from './conformance-report.ts'

/** Of what jest hands to a reporter, what is needed here. */
interface Results {
  readonly wasInterrupted?: boolean
  readonly testResults: readonly {
    readonly testFilePath: string
    readonly testResults: readonly {
      readonly ancestorTitles: readonly string[]
      readonly title: string
      readonly status: string
    }[]
  }[]
}

const ROOT = resolve(import.meta.dirname, '../..')

/** What a test imports, itself or through files beside it, that stands for a mail server. */
const IMPORTS: Readonly<Record<string, string>> = {
  'support/upstream.ts': 'the scripted upstream',
  'support/started.ts': 'the scripted upstream',
  'support/talker.ts': 'the scripted upstream',
  'relay/scene.ts': 'the scripted upstream',
  'services/postfix.ts': 'Postfix',
  'services/exim.ts': 'Exim',
  'services/opensmtpd.ts': 'OpenSMTPD',
}

/** The table of all servers: tests that take theirs from it name them in their titles. */
const TABLE = 'wire/servers.ts'

/** Servers that a test starts, by what it imports, where its titles do not name them. */
function behind(file: string): readonly string[] {
  const servers = new Set<string>()
  const seen = new Set<string>()
  const visit = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    const text = readFileSync(path, 'utf8')
    for (const [statement, , from] of text.matchAll(/^import (type )?[\s\S]*?'([^']+)'$/gm)) {
      if (statement.startsWith('import type') || from === undefined || !from.startsWith('.')) continue
      const target = join(dirname(path), from)
      const name = relative(join(ROOT, 'test'), target)
      const server = IMPORTS[name]
      if (server !== undefined) servers.add(server)
      else if (name !== TABLE && dirname(target) === dirname(path)) visit(target)
    }
  }
  visit(join(ROOT, file))
  return [...servers]
}

export default class ConformanceReporter {
  readonly #picked: boolean
  #error: Error | undefined

  constructor(config: { readonly testNamePattern?: string | undefined }) {
    this.#picked = (config.testNamePattern ?? '') !== ''
  }

  onRunComplete(_contexts: unknown, results: Results): void {
    const ran = new Set(results.testResults.map(({ testFilePath }) => testFilePath))
    const all = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.test.ts'))
      .map((path) => join(ROOT, 'test', path))
    if (this.#picked || results.wasInterrupted === true || !all.every((path) => ran.has(path))) return
    const tests = results.testResults.flatMap(({ testFilePath, testResults }) =>
      testResults.map(
        ({ ancestorTitles, title, status }): Ran => ({
          file: relative(ROOT, testFilePath),
          path: [...ancestorTitles, title],
          status,
        }),
      ),
    )
    const found = collect(tests, behind)
    writeFileSync(join(ROOT, 'docs/conformance.md'), conformanceMarkdown(found))
    const missing = gaps(found)
    if (missing.length === 0) return
    this.#error = new Error(`docs/conformance.md: ${missing.join(', ')}`)
    // Jest fails the run for it and does not say why.
    process.stderr.write(`\n${this.#error.message}\n`)
  }

  getLastError(): Error | undefined {
    return this.#error
  }
}
