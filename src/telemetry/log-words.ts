/**
 * A line of the log for people (SPILLWAY_LOG_FORMAT=text): time, level, what it is, and the fields as name=value, those that are looked for
 * first. It is made from the JSON line, so it has the same in it, and is one line whatever others have sent.
 */
import { visible } from '../core/visible.ts'

/** In this order; whatever else there is follows as it comes. */
const FIRST = [
  ...['id', 'ip', 'standing', 'outcome', 'stage', 'reason', 'code', 'limit', 'helo', 'from', 'rcptCount', 'rcpts'],
  ...['messageCount', 'messages', 'refusedBy', 'ms'],
] as const
/** Of a client these follow from its address. */
const LAST = ['net', 'source', 'sample', 'worker'] as const
const PLACED = new Set<string>([...FIRST, ...LAST, 'ts', 'level', 'msg'])

/** Ends nothing that is around it, and cannot be taken for a name and a value. */
const BARE = /^[^\s"\\={}[\],]+$/

const textOf = (text: string): string => (BARE.test(text) ? text : JSON.stringify(text))

function shownOf(value: unknown): string {
  if (typeof value === 'string') return textOf(value)
  if (Array.isArray(value)) return `[${value.map(shownOf).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const parts = Object.entries(value).map(([name, each]) => `${textOf(name)}=${shownOf(each)}`)
    return `{${parts.join(' ')}}`
  }
  return String(value)
}

/** The message is ours and has spaces; one that has more is quoted. */
const messageOf = (msg: unknown): string => {
  const text = String(msg ?? '')
  return /[\p{Cc}"\\=]/u.test(text) ? JSON.stringify(text) : text
}

/** @param line JSON with its line end, as pino writes it @returns the line for people, with its line end and nothing in it that is not seen */
export function lineInWords(line: string): string {
  let fields: Record<string, unknown>
  try {
    fields = JSON.parse(line) as Record<string, unknown>
  } catch {
    return visible(line)
  }
  const { ts, level, msg } = fields
  const named = [
    ...FIRST.filter((name) => name in fields),
    ...Object.keys(fields).filter((name) => !PLACED.has(name)),
    ...LAST.filter((name) => name in fields),
  ].map((name) => `${textOf(name)}=${shownOf(fields[name])}`)
  const words = [textOf(String(ts)), String(level).toUpperCase().padEnd(5), messageOf(msg), ...named]
  return `${visible(words.join(' ').trimEnd())}\n`
}
