/**
 * Reads an env file: KEY=VALUE lines, as docker, systemd and shells write them. Strict where a slip of the hand would
 * otherwise lose a setting without a word: a line that is no assignment is a mistake, and so is a name given twice.
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

const ASSIGNMENT = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$/
const FORM = 'a line KEY=VALUE, a comment that begins with #, or an empty line'

/** The value without its quotes or the comment behind it; a hint where the quotes do not fit. */
function unquote(text: string): { readonly value: string } | { readonly hint: string } {
  const quote = text[0]
  if (quote !== '"' && quote !== "'") return { value: text.replace(/(^|\s+)#.*$/, '').trim() }
  const end = text.indexOf(quote, 1)
  if (end < 0) return { hint: `a closing ${quote} at the end of the value` }
  const rest = text.slice(end + 1).trim()
  if (rest !== '' && !rest.startsWith('#')) return { hint: `nothing behind the closing ${quote}` }
  return { value: text.slice(1, end) }
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
    const read = unquote(rest)
    const before = first.get(name)
    if ('hint' in read) wrong.push({ line, name, expected: read.hint })
    else if (before !== undefined)
      wrong.push({ line, name, expected: `each name once; it is on line ${before} already` })
    else lines.push({ name, value: read.value, line })
    if (before === undefined) first.set(name, line)
  }
  return { lines, wrong }
}
