/**
 * What is wrong with the settings, as values and as the text that an operator reads. All mistakes are reported at once:
 * an operator who finds them one by one is down for one restart after another.
 */

export interface Mistake {
  /** The setting that is wrong, or the line of the env file. */
  readonly name: string
  /** As written; HIDDEN for a secret; undefined where nothing was written. */
  readonly value: string | undefined
  /** Where it was written: `environment`, `env file PATH:LINE`, `file PATH`. */
  readonly origin: string
  /** What would be right, and what to write. It may have several lines. */
  readonly expected: string
  /** As an operator would write it; undefined where there is none. */
  readonly default: string | undefined
}

/** Shown in place of a secret. */
export const HIDDEN = '(hidden)'

/** The settings cannot be used as they are; `message` describes all of `mistakes`. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
  readonly mistakes: readonly Mistake[]
  readonly warnings: readonly string[]

  constructor(mistakes: readonly Mistake[], warnings: readonly string[]) {
    super(describe(mistakes))
    this.mistakes = mistakes
    this.warnings = warnings
  }
}

const LONGEST = 100
/** One line, short enough to read, and without characters that move a terminal's cursor. */
const brief = (value: string): string => {
  const line = value.replace(/[^\x20-\x7e\u00a1-\uffff]/g, '?')
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}… (${line.length} characters)` : line
}

const WIDTH = 116
const MARGIN = 14

/** Breaks a line between words. Continuation lines are indented to its text, in a list of choices past the choice. */
function wrap(line: string): string[] {
  const hang = /^ *(\S+ {2,})?/.exec(line)?.[0].length ?? 0
  const lines: string[] = []
  let rest = line
  while (MARGIN + rest.length > WIDTH) {
    const at = rest.lastIndexOf(' ', WIDTH - MARGIN)
    if (at <= hang) break
    lines.push(rest.slice(0, at))
    rest = ' '.repeat(hang) + rest.slice(at + 1)
  }
  return [...lines, rest]
}

const field = (label: string, text: string): string =>
  `    ${label.padEnd(MARGIN - 4)}${text
    .split('\n')
    .flatMap(wrap)
    .join(`\n${' '.repeat(MARGIN)}`)}`

function describeOne(mistake: Mistake): string {
  const { name, value, origin, expected } = mistake
  const lines = [value === undefined ? `  ${name}` : `  ${name}=${value === HIDDEN ? value : brief(value)}`]
  if (origin) lines.push(field('from', origin))
  lines.push(field('expected', expected))
  if (mistake.default !== undefined) lines.push(field('default', mistake.default))
  return lines.join('\n')
}

/** All of `mistakes`, for a terminal or for a log that keeps line breaks. */
export function describe(mistakes: readonly Mistake[]): string {
  const count = mistakes.length === 1 ? 'One mistake' : `${mistakes.length} mistakes`
  return `${count} in the settings:\n\n${mistakes.map(describeOne).join('\n\n')}\n`
}
