/**
 * The kinds of value a setting can have. A kind parses strictly what an operator wrote. If it cannot, it says what it
 * expected and what to write instead: a unit that is guessed wrong (is 30 seconds or minutes?) would show only in the
 * flood. Kinds of list are in list-kinds.ts.
 */
import type { Rate } from '../core/limits.ts'
import { maskPath } from './masks.ts'
import { nearest } from './nearest.ts'

interface Words<T> {
  /** For tables in the docs: `duration`, `size or upstream`. */
  readonly word: string
  /** For the operator who wrote something else: `a duration with its unit, such as 30s, 10m or 1h`. */
  readonly what: string
  /** What each word is for, where the kind is a choice of words. */
  readonly choices?: Readonly<Record<string, string>>
  /** The value as an operator would write it; parsing that text again gives the same value. */
  show(value: T): string
  /** The text with its secret part hidden; absent where the text cannot hold a secret. */
  mask?(text: string): string
}

/** The hint says what to write and continues the sentence in `what`; it is empty where there is no more to say. */
export type Parsed<T> = { readonly value: T } | { readonly hint: string }

/** A kind that is parsed from one text. */
export interface Scalar<T> extends Words<T> {
  readonly list: false
  parse(text: string): Parsed<T>
}

/** `expected` is about the entry with this index; without an index, about the list as a whole. */
export interface WrongEntry {
  readonly index: number | undefined
  readonly expected: string
}

/** A kind that is parsed from the entries of a list. */
export interface List<T> extends Words<T> {
  readonly list: true
  parse(entries: readonly string[]): { readonly value: T } | { readonly wrong: readonly WrongEntry[] }
}

export type Kind<T> = Scalar<T> | List<T>
export type ValueOf<K> = K extends { parse(given: never): infer P } ? Extract<P, { value: unknown }>['value'] : never

export const scalar = <T>(parts: Omit<Scalar<T>, 'list'>): Scalar<T> => ({ ...parts, list: false })

/** The words for an operator who wrote something else. */
export const expectation = ({ what }: Kind<unknown>, hint: string): string => (hint === '' ? what : `${what}; ${hint}`)

/** `kind`, or the word `word`, which stands for `value`. */
export function or<T, const W extends string, const V>(kind: Scalar<T>, word: W, value: V): Scalar<T | V> {
  return scalar<T | V>({
    ...kind,
    word: `${kind.word}, or \`${word}\``,
    what: `${kind.what}, or ${word}`,
    parse(text) {
      if (text === word) return { value }
      if (text.toLowerCase() === word) return { hint: `write ${word} in small letters` }
      if (word === 'off' && text === 'false') return { hint: 'write off (in YAML "off", in quotes)' }
      return kind.parse(text)
    },
    show: (shown) => (shown === value ? word : kind.show(shown as T)),
  })
}

/** `kind`, or the word `off`, whose value is undefined. */
export const orOff = <T>(kind: Scalar<T>): Scalar<T | undefined> => or(kind, 'off', undefined)
/** `kind`, or the word `none`, whose value is undefined. */
export const orNone = <T>(kind: Scalar<T>): Scalar<T | undefined> => or(kind, 'none', undefined)

const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const UNITS = ['d', 'h', 'm', 's', 'ms'] as const
/** setTimeout of Node takes at most 2^31 - 1 ms; a longer timer fires at once. */
const LONGEST_MS = 24 * MS.d

const durationText = (ms: number): string => {
  const unit = ms === 0 ? 's' : (UNITS.find((each) => ms % MS[each] === 0) ?? 'ms')
  return `${ms / MS[unit]}${unit}`
}

function parseDuration(text: string): Parsed<number> {
  const [, digits, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(text) ?? []
  if (digits !== undefined) return { value: Number(digits) * MS[unit as keyof typeof MS] }
  if (/^\d+$/.test(text)) return { hint: `a bare ${text} has no unit: write ${text}s, ${text}m or ${text}h` }
  if (/^\d+\.\d+\s*(s|m|h|d)$/.test(text)) return { hint: 'whole numbers only: write 90m rather than 1.5h' }
  return { hint: 'the units are ms, s, m, h and d, without a space before them' }
}

export interface Range {
  /** Bounds, inclusive, in milliseconds. */
  readonly min?: number
  readonly max?: number
  /** Why no less is accepted; follows "at least 660s:". */
  readonly because?: string
}

/** In milliseconds. */
export function duration({ min = 1, max = LONGEST_MS, because }: Range = {}): Scalar<number> {
  const least = min > 1 ? `, at least ${durationText(min)}` : ''
  return scalar({
    word: `duration${least}`,
    what: 'a duration with its unit, such as 30s, 10m or 1h',
    parse(text) {
      if (/^(off|none|never)$/i.test(text)) return { hint: 'it cannot be turned off' }
      const parsed = parseDuration(text)
      if ('hint' in parsed) return parsed
      if (parsed.value < min) return { hint: `at least ${durationText(min)}${because ? `: ${because}` : ''}` }
      if (parsed.value > max) return { hint: `at most ${durationText(max)}` }
      return parsed
    },
    show: durationText,
  })
}

const BYTES: Readonly<Record<string, number>> = {
  GiB: 2 ** 30,
  GB: 1e9,
  MiB: 2 ** 20,
  MB: 1e6,
  KiB: 2 ** 10,
  KB: 1e3,
  kB: 1e3,
  B: 1,
}

/** In bytes. */
export const size: Scalar<number> = scalar({
  word: 'size',
  what: 'a size with its unit, such as 25MB (25,000,000 bytes) or 25MiB (26,214,400 bytes)',
  parse: (text) => parseSize(text, (bare) => `${bare}MB, or ${bare}B for bytes`),
  show: sizeText,
})

const FASTEST = 1e6

/** In bytes per second. */
export const dataRate: Scalar<number> = scalar({
  word: 'size',
  what: 'an amount per second, with its unit, such as 500B or 1KB',
  parse(text) {
    const parsed = parseSize(text, (bare) => `${bare}B`)
    if ('hint' in parsed || parsed.value <= FASTEST) return parsed
    return { hint: `at most ${sizeText(FASTEST)}: a client on a slow line could send nothing` }
  },
  show: sizeText,
})

/** @param bare what to write instead of a number without a unit */
function parseSize(text: string, bare: (digits: string) => string): Parsed<number> {
  const [, digits, unit] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? []
  const factor = unit === undefined ? undefined : BYTES[unit]
  if (factor !== undefined) {
    const bytes = Number(digits) * factor
    if (bytes === 0) return { hint: 'more than nothing' }
    return Number.isSafeInteger(bytes) ? { value: bytes } : { hint: 'that is more than there is' }
  }
  if (/^\d+$/.test(text)) return { hint: `a bare ${text} has no unit: write ${bare(text)}` }
  if (/^\d+\.\d+[A-Za-z]+$/.test(text)) return { hint: 'whole numbers only: write 1500KB rather than 1.5MB' }
  const lower = unit?.toLowerCase()
  const meant = Object.keys(BYTES).find((each) => [lower, `${lower}b`].includes(each.toLowerCase()))
  return { hint: meant && digits ? `write ${digits}${meant}` : 'the units are B, KB, MB, GB, KiB, MiB and GiB' }
}

function sizeText(bytes: number): string {
  const unit = Object.keys(BYTES).find((each) => bytes % (BYTES[each] as number) === 0) ?? 'B'
  return `${bytes / (BYTES[unit] as number)}${unit}`
}

const LONGEST_WINDOW_MS = 7 * MS.d

export const rateText = ({ max, windowMs }: Rate): string => `${max}/${durationText(windowMs)}`

export const rate: Scalar<Rate> = scalar({
  word: 'rate',
  what: 'a rate, a number within a duration, such as 600/1m',
  parse(text) {
    const [, digits, window] = /^(\d+)\/(.+)$/.exec(text) ?? []
    if (digits === undefined || window === undefined) {
      if (/^\d+$/.test(text)) return { hint: `a bare ${text} has no duration: write ${text}/1m for ${text} a minute` }
      return { hint: 'write the number, a slash and the duration, without spaces' }
    }
    const max = Number(digits)
    if (max === 0) return { hint: '0 would refuse everybody: write at least 1' }
    if (!Number.isSafeInteger(max)) return { hint: 'that number is too large to count to' }
    if (/^(ms|s|m|h|d)$/.test(window)) return { hint: `write ${digits}/1${window}` }
    const parsed = parseDuration(window)
    if ('hint' in parsed) {
      return { hint: /^\d+$/.test(window) ? `the duration has no unit: write ${text}s or ${text}m` : parsed.hint }
    }
    if (parsed.value < 100) return { hint: 'the duration is at least 100ms' }
    if (parsed.value > LONGEST_WINDOW_MS) return { hint: `the duration is at most ${durationText(LONGEST_WINDOW_MS)}` }
    return { value: { max, windowMs: parsed.value } }
  },
  show: rateText,
})

export function integer(min: number, max: number): Scalar<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`
  return scalar({
    word: `integer, ${range}`,
    what: `a whole number, ${range}`,
    parse(text) {
      if (/^\d+$/.test(text)) {
        const value = Number(text)
        return value >= min && value <= max ? { value } : { hint: value < min ? `at least ${min}` : `at most ${max}` }
      }
      const plain = text.replace(/[,_' ]/g, '')
      const thousands = /^(\d+)k$/i.exec(plain)?.[1]
      if (thousands !== undefined) return { hint: `write ${thousands}000` }
      return { hint: /^\d+$/.test(plain) ? `write ${plain}` : 'digits only' }
    },
    show: String,
  })
}

/** A number with or without decimals, such as a factor or a share. */
export function decimal(min: number, max: number): Scalar<number> {
  const range = `${min} to ${max}`
  return scalar({
    word: `number, ${range}`,
    what: `a number, ${range}`,
    parse(text) {
      const percent = /^(\d+(?:\.\d+)?) ?%$/.exec(text)?.[1]
      if (percent !== undefined) return { hint: `write ${Number(percent) / 100}` }
      if (!/^\d+(\.\d+)?$/.test(text)) return { hint: 'digits, with a point before decimals' }
      const value = Number(text)
      return value >= min && value <= max ? { value } : { hint: value < min ? `at least ${min}` : `at most ${max}` }
    },
    show: String,
  })
}

const MEANT: Readonly<Record<string, string>> = { true: 'on', yes: 'on', 1: 'on', false: 'off', no: 'off', 0: 'off' }

export const flag: Scalar<boolean> = scalar({
  word: '`on` or `off`',
  what: 'on or off',
  parse(text) {
    if (text === 'on' || text === 'off') return { value: text === 'on' }
    const lower = text.toLowerCase()
    const meant = MEANT[lower] ?? (lower === 'on' || lower === 'off' ? lower : undefined)
    return { hint: meant === undefined ? '' : `write ${meant} (in YAML "${meant}", in quotes)` }
  },
  show: (value) => (value ? 'on' : 'off'),
})

/** @param choices each word that may be chosen, and what it is for */
export function oneOf<const C extends string>(choices: Readonly<Record<C, string>>): Scalar<C> {
  const words = Object.keys(choices) as C[]
  return scalar({
    word: words.map((word) => `\`${word}\``).join(', '),
    what: `one of ${words.join(', ')}`,
    choices,
    parse(text) {
      const value = words.find((word) => word === text)
      if (value !== undefined) return { value }
      const meant = nearest(text, words)
      return { hint: meant === undefined ? '' : `did you mean ${meant}?` }
    },
    show: (value) => value,
  })
}

/** Whether somebody wrote what is in a PEM file in place of its path. */
const isContent = (text: string): boolean => /\n|-----(BEGIN|END) /.test(text)

/** A path in the file system. Whether a suitable file is there is for the rules in machine-rules.ts. */
export const path: Scalar<string> = scalar({
  word: 'path',
  what: 'the path of a file',
  parse: (text) => (isContent(text) ? { hint: 'this is the text of a file: write its path' } : { value: text }),
  show: (value) => value,
})

/** Where somebody wrote the secret itself in place of the path of its file, it is not repeated. */
export const keyPath: Scalar<string> = scalar({ ...path, mask: maskPath })

/**
 * Never shown: see `secret` in settings.ts. It is sent in an HTTP header, where it may hold no space (RFC 6750 section
 * 2.1).
 */
export const secret: Scalar<string> = scalar({
  word: 'secret',
  what: 'a word of visible ASCII characters, without spaces',
  parse: (text) => (/^[\x21-\x7e]+$/.test(text) ? { value: text } : { hint: 'make one with: openssl rand -hex 24' }),
  show: (value) => value,
})
