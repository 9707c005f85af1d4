/**
 * Reads an env file: KEY=VALUE lines. The form is our own, and this is its only reader. Docker, systemd and shells each
 * read such a file a little differently (`export`, comments behind a value, quotes, backslashes), so a file that passes
 * through one of them may arrive as other settings than were written. Whatever would mean one thing here and another
 * thing there, or would lose a setting silently, is a mistake: what is no assignment, a name given twice, a backslash.
 */

export interface EnvLine {
  readonly name: string
  readonly value: string
  readonly line: number
}

export interface EnvFile {
  readonly lines: readonly EnvLine[]
  /** `name` is the name on that line where there is one; the rest of the line may be a secret and is not repeated. */
  readonly wrong: readonly { readonly line: number; readonly name: string | undefined; readonly expected: string }[]
}

const ASSIGNMENT = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$/
const FORM = 'a line KEY=VALUE, a comment that begins with #, or an empty line'
const COMMENT = /\s#.*$/
const BACKSLASH =
  'single quotes around a value with a backslash, which stands for itself there; no line goes on in the next one ' +
  '(a long list can stand in a file: @/path)'

type Read = { readonly value: string } | { readonly hint: string }

function quoted(text: string, quote: string): Read {
  const end = text.indexOf(quote, 1)
  if (end < 0) return { hint: `a closing ${quote} at the end of the value` }
  const value = text.slice(1, end)
  // A shell and systemd take \" and \\ for one character, others for two.
  if (quote === '"' && value.includes('\\')) return { hint: BACKSLASH }
  if (
    text
      .slice(end + 1)
      .replace(COMMENT, '')
      .trim() !== ''
  )
    return { hint: `nothing behind the closing ${quote}` }
  return { value }
}

/** @param rest all that stands behind the equals sign; a hint tells what should be written instead. */
function readValue(rest: string): Read {
  // A shell, docker and systemd take this for the value; whoever writes it may mean a comment.
  if (rest.startsWith('#')) return { hint: 'quotes around a value that begins with #, or a space before a comment' }
  const quote = rest.trimStart()[0]
  if (quote === '"' || quote === "'") return quoted(rest.trimStart(), quote)
  const value = rest.replace(COMMENT, '').trim()
  return value.includes('\\') ? { hint: BACKSLASH } : { value }
}

/** @param only the beginning of the names that are taken; other names are passed over. */
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
      const begun = /^(?:export\s+)?([A-Z_][A-Z0-9_]*)(?=\s|:|$)/.exec(content)?.[1]
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
