/**
 * Reads an env file: KEY=VALUE lines. The form is our own, and this is its only reader. Docker, systemd and shells each
 * read such a file a little differently (`export`, comments after a value, quotes, backslashes), so a file that passes
 * through one of them may yield other settings than were written. Whatever would mean one thing here and another there,
 * or would silently lose a setting, is a mistake: a line that is not an assignment, a name given twice, a backslash.
 */
import type { Parsed } from './kinds.ts'

export interface EnvLine {
  readonly name: string
  readonly value: string
  readonly line: number
}

export interface EnvFile {
  readonly lines: readonly EnvLine[]
  /** `name` is the name on that line, if there is one. The rest of the line may be a secret and is not repeated. */
  readonly wrong: readonly { readonly line: number; readonly name: string | undefined; readonly expected: string }[]
}

const ASSIGNMENT = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$/
const FORM = 'a line KEY=VALUE, a comment that begins with #, or an empty line'
const COMMENT = /\s#.*$/
const BACKSLASH =
  'single quotes around a value with a backslash, which has no special meaning there; no line continues on the next one ' +
  '(a long list can be in a file: @/path)'

function quoted(text: string, quote: string): Parsed<string> {
  const end = text.indexOf(quote, 1)
  if (end < 0) return { hint: `a closing ${quote} at the end of the value` }
  const value = text.slice(1, end)
  // A shell and systemd read \" and \\ as one character, others as two.
  if (quote === '"' && value.includes('\\')) return { hint: BACKSLASH }
  if (
    text
      .slice(end + 1)
      .replace(COMMENT, '')
      .trim() !== ''
  )
    return { hint: `nothing after the closing ${quote}` }
  return { value }
}

/** @param rest everything after the equals sign @returns the value, or a hint that says what to write instead */
function readValue(rest: string): Parsed<string> {
  // A shell, Docker and systemd read this as the value, but the operator may have meant a comment.
  if (rest.startsWith('#')) return { hint: 'quotes around a value that begins with #, or a space before a comment' }
  const quote = rest.trimStart()[0]
  if (quote === '"' || quote === "'") return quoted(rest.trimStart(), quote)
  const value = rest.replace(COMMENT, '').trim()
  return value.includes('\\') ? { hint: BACKSLASH } : { value }
}

/** @param only the prefix of the names that are read; other names are ignored */
export function parseEnvFile(text: string, only: string): EnvFile {
  const lines: EnvLine[] = []
  const wrong: { line: number; name: string | undefined; expected: string }[] = []
  const first = new Map<string, number>()
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const line = index + 1
    const content = raw.trim()
    if (content === '' || content.startsWith('#')) continue
    const [, name, rest] = ASSIGNMENT.exec(content) ?? []
    if (name === undefined || rest === undefined) {
      const word = /^(?:export\s+)?([A-Z_][A-Z0-9_]*)(?=\s|:|$)/.exec(content)?.[1]
      // Another word may be the rest of a secret that went on to this line.
      const begun = word?.startsWith(only) ? word : undefined
      wrong.push({ line, name: begun, expected: begun ? `${FORM}; write ${begun}=…` : FORM })
      continue
    }
    if (!name.startsWith(only)) continue
    const read = readValue(rest)
    const before = first.get(name)
    if ('hint' in read) wrong.push({ line, name, expected: read.hint })
    else if (before !== undefined)
      wrong.push({ line, name, expected: `each name once; it is on line ${before} already` })
    else lines.push({ name, value: read.value, line })
    if (before === undefined) first.set(name, line)
  }
  return { lines, wrong }
}
