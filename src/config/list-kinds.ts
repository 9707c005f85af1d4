/**
 * Kinds of list. A list is parsed from its entries (entries.ts splits the text). Every wrong entry is reported with its
 * own place in the list: "something in it is wrong" does not help to correct a deny list of a thousand lines.
 */
import { CHECK_NAMES, type CheckName } from '../core/reasons.ts'
import { expectation, type List, path, type Scalar, scalar, type WrongEntry } from './kinds.ts'
import { maskPaths } from './masks.ts'
import { nearest } from './nearest.ts'

interface ListParts<E, T> {
  readonly word: string
  /**
   * The word that stands for an empty list and may be written too: `none`, `system`. Without it a list cannot be empty.
   */
  readonly empty?: string
  readonly show: (entry: E) => string
  /** No two entries may have the same key. */
  readonly key?: (entry: E) => string | undefined
  readonly gather: (entries: readonly E[]) => T
  readonly spread: (value: T) => readonly E[]
}

function listOf<E, T>(entry: Scalar<E>, { empty, key, gather, spread, ...parts }: ListParts<E, T>): List<T> {
  return {
    word: empty === undefined ? parts.word : `${parts.word}, or \`${empty}\``,
    what: `${entry.what}; several are separated by commas`,
    list: true,
    parse(texts) {
      const values: E[] = []
      const wrong: WrongEntry[] = []
      const seen = new Set<string>()
      for (const [index, text] of texts.length === 1 && texts[0] === empty ? [] : texts.entries()) {
        const parsed = entry.parse(text)
        if ('hint' in parsed) {
          wrong.push({ index, expected: expectation(entry, parsed.hint) })
          continue
        }
        values.push(parsed.value)
        const name = key?.(parsed.value)
        if (name === undefined) continue
        if (seen.has(name)) wrong.push({ index, expected: 'each entry once; this one is there twice' })
        seen.add(name)
      }
      if (texts.length === 0 && empty === undefined) {
        wrong.push({ index: undefined, expected: `at least one entry, ${entry.what}` })
      }
      return wrong.length > 0 ? { wrong } : { value: gather(values) }
    },
    show: (value) => spread(value).map(parts.show).join(',') || (empty as string),
  }
}

/** A list whose value is its entries. */
export const plainList = <E>(
  entry: Scalar<E>,
  parts: Omit<ListParts<E, readonly E[]>, 'gather' | 'spread'>,
): List<readonly E[]> =>
  listOf<E, readonly E[]>(entry, { ...parts, gather: (entries) => entries, spread: (value) => value })

/** Where somebody wrote the content of a file, it may be a private key. */
export const paths: List<readonly string[]> = {
  ...plainList(path, { word: 'list of paths', empty: 'none', show: path.show }),
  mask: maskPaths,
}

const checkName: Scalar<'all' | CheckName> = scalar({
  word: 'name of a check',
  what: `the name of a check (${CHECK_NAMES.join(', ')}), or all`,
  parse(text) {
    const value = (['all', ...CHECK_NAMES] as const).find((name) => name === text)
    if (value !== undefined) return { value }
    const meant = nearest(text.replaceAll('_', '-'), CHECK_NAMES)
    return { hint: meant === undefined ? '' : `did you mean ${meant}?` }
  },
  show: (value) => value,
})

export const checkNames: List<'all' | readonly CheckName[]> = listOf<'all' | CheckName, 'all' | readonly CheckName[]>(
  checkName,
  {
    word: 'list of checks, `all`',
    empty: 'none',
    show: checkName.show,
    gather: (names) => (names.includes('all') ? 'all' : [...new Set(names.filter((name) => name !== 'all'))]),
    spread: (value) => (value === 'all' ? [value] : value),
  },
)
