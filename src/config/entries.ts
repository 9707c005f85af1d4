/**
 * Splits the text of a list into its entries, and reads the files it points to (`@/path/file`: one entry per line, `#`
 * comments). Every entry knows where it was written, so that a mistake can name line 812 of a deny list.
 */

export interface Entry {
  readonly text: string
  /** `PATH:LINE`, where it was read from a file. */
  readonly at?: string
}

export interface Entries {
  readonly entries: readonly Entry[]
  /** Entries that point to a file that cannot be read, or whose `@` is not followed by a whole path. */
  readonly wrong: readonly { readonly entry: Entry; readonly expected: string }[]
}

/** Reads a whole file, or says why it cannot be read. */
export type ReadText = (path: string) => { readonly text: string } | { readonly hint: string }

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of that path is not a directory',
}

/** Why a file could not be read, in words. @param error as node:fs throws it */
export function unreadable(error: unknown): { readonly hint: string } {
  const { code, message } = error as NodeJS.ErrnoException
  return { hint: (code !== undefined && WHY[code]) || message }
}

/** @param readFile gives the whole file as text; throws as node:fs does */
export const reader =
  (readFile: (path: string) => string): ReadText =>
  (path) => {
    try {
      return { text: readFile(path) }
    } catch (error) {
      return unreadable(error)
    }
  }

const fromLines = (text: string, path: string): Entry[] =>
  text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line, index) => ({ text: line.replace(/(^|\s)#.*$/, '').trim(), at: `${path}:${index + 1}` }))
    .filter((entry) => entry.text !== '')

const fromCommas = (entry: Entry): Entry[] =>
  entry.text
    .split(',')
    .map((text) => ({ ...entry, text: text.trim() }))
    .filter(({ text }) => text !== '')

/** @param path the file that holds the list itself (NAME_FILE): in it, lines separate entries as commas do */
export function entriesOf(text: string, read: ReadText, path?: string): Entries {
  const entries: Entry[] = []
  const wrong: { entry: Entry; expected: string }[] = []
  const written = path === undefined ? fromCommas({ text }) : fromLines(text, path).flatMap(fromCommas)
  for (const entry of written) {
    if (!entry.text.startsWith('@')) {
      entries.push(entry)
      continue
    }
    const file = entry.text.slice(1)
    const content = file.startsWith('/') ? read(file) : { hint: '@ begins a whole path, such as @/etc/spillway/list' }
    if ('hint' in content) wrong.push({ entry, expected: `a file with one entry per line; ${content.hint}` })
    else for (const line of fromLines(content.text, file)) entries.push(line)
  }
  return { entries, wrong }
}
