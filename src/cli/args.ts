/** Parses the command line by the tables of verbs.ts. It is pure: main.ts alone prints and decides the exit code. */
import { parseArgs } from 'node:util'
import { nearest } from '../config/nearest.ts'
import type { Flag, Options, Valued, Verb, Verbs } from './verb-options.ts'
import { COMMON, VERBS } from './verbs.ts'

type Values<O extends Options> = {
  readonly [N in keyof O]: O[N] extends Valued<infer T> ? T | undefined : boolean
}

/** What the command line asks for: a verb, its options and the common ones, and its arguments in order. */
export type Invocation<V extends Verbs = typeof VERBS> = {
  readonly [N in keyof V & string]: {
    readonly verb: N
    readonly options: Values<V[N]['options'] & Omit<typeof COMMON, 'help' | 'version'>>
    readonly positionals: readonly string[]
  }
}[keyof V & string]
export type OptionsOf<N extends keyof typeof VERBS> = Extract<Invocation, { verb: N }>['options']

/** `help` goes to stdout with exit code 0; `error` to stderr with 64 (EX_USAGE of sysexits.h). */
export type Arguments<V extends Verbs = typeof VERBS> =
  | Invocation<V>
  | { readonly help: string }
  | { readonly version: true }
  | { readonly error: string }

/** The verb where none is given. */
const USUAL = 'serve'

export const isValued = (option: Flag | Valued<unknown>): option is Valued<unknown> => 'read' in option
export const dashed = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
const list = (words: readonly string[]): string => words.join(', ').replace(/, ([^,]*)$/, ' and $1')

function columns(title: string, rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length))
  return [title, ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)].join('\n')
}

const optionRow = ([name, option]: [string, Flag | Valued<unknown>]): [string, string] => {
  if (isValued(option)) return [`--${dashed(name)} ${option.value}`, option.help]
  return [`${option.short === undefined ? '' : `-${option.short}, `}--${dashed(name)}`, option.help]
}

function overview(verbs: Verbs): string {
  const verbRows = Object.entries(verbs).map(([name, { summary }]): [string, string] => [name, summary])
  return `${[
    'Usage: spillway [VERB] [OPTIONS]',
    'Stands in front of a mail cluster, sheds a flood of spam and relays everything else live.',
    columns('Verbs:', verbRows),
    columns('Options:', Object.entries({ ...verbs[USUAL]?.options, ...COMMON }).map(optionRow)),
    'Settings are environment variables; two are required: SPILLWAY_UPSTREAMS and SPILLWAY_UPSTREAM_CLIENT_IP.\n' +
      '`spillway serve --help` lists them all.',
  ].join('\n\n')}\n`
}

function helpFor(name: string, { summary, options, positionals = [], example, more }: Verb): string {
  const named = positionals.map(({ name, optional, many }) => {
    const shown = many ? `${name} …` : name
    return optional ? `[${shown}]` : shown
  })
  return `${[
    `Usage: ${['spillway', name, ...named, '[OPTIONS]'].join(' ')}`,
    `${summary.replace(/^./, (letter) => letter.toUpperCase())}.`,
    ...(positionals.length === 0
      ? []
      : [
          columns(
            'Arguments:',
            positionals.map((each) => [each.name, each.help]),
          ),
        ]),
    columns('Options:', Object.entries({ ...options, ...COMMON }).map(optionRow)),
    `Example: ${example}`,
    ...(more === undefined ? [] : [more()]),
  ].join('\n\n')}\n`
}

/** What is wrong with the number of arguments; undefined where it is right. */
function miscounted(name: string, { positionals = [], example }: Verb, args: readonly string[]): string | undefined {
  const missing = positionals[args.length]
  if (missing !== undefined && !missing.optional) return `${name} needs ${missing.name}: ${missing.help}. ${example}`
  if (positionals.at(-1)?.many) return undefined
  const surplus = args.slice(positionals.length)
  if (surplus.length === 0) return undefined
  if (positionals.length === 0) return `${name} takes no arguments, and was given ${surplus.join(' ')}.`
  const most = positionals.length === 1 ? 'one argument' : `${positionals.length} arguments`
  return `${name} takes ${most}, and was given ${surplus.join(' ')} as well.`
}

/** Every option, by its spelling on the command line. An option of several verbs means the same in all of them. */
function optionsOf(
  verbs: Verbs,
): ReadonlyMap<string, { readonly name: string; readonly option: Flag | Valued<unknown> }> {
  const all: Options = Object.assign({}, ...Object.values(verbs).map(({ options }) => options), COMMON)
  return new Map(Object.entries(all).map(([name, option]) => [dashed(name), { name, option }]))
}

interface Parts {
  /** By the names of the options. */
  readonly values: Readonly<Record<string, unknown>>
  /** Everything that is not an option: the verb and its arguments. */
  readonly words: readonly string[]
}

/** @returns the parts of the command line, or what is wrong with it whatever the verb is */
function split(argv: readonly string[], verbs: Verbs): Parts | string {
  const options = optionsOf(verbs)
  const declared = [...options].map(([dashes, { option }]) => {
    if (isValued(option)) return [dashes, { type: 'string' }] as const
    return [dashes, { type: 'boolean', ...(option.short !== undefined && { short: option.short }) }] as const
  })
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(declared),
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  const values: Record<string, unknown> = {}
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name: dashes, rawName, value } = token
    const known = options.get(dashes)
    if (known === undefined) {
      const meant = nearest(dashes, [...options.keys()])
      return `There is no option ${rawName}${meant ? `; did you mean --${meant}?` : '.'}`
    }
    const { name, option } = known
    if (!isValued(option)) {
      if (value !== undefined) return `${rawName} takes no value.`
      values[name] = true
      continue
    }
    const isValue =
      value !== undefined && value !== '' && (token.inlineValue || value === '-' || !value.startsWith('-'))
    values[name] = isValue ? option.read(value) : undefined
    if (values[name] === undefined) return `--${dashes} needs ${option.needs}.`
  }
  return { values, words: tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : [])) }
}

/**
 * @param argv without the program and its script
 * @param verbs the verbs of this program; a test may have others
 */
export function parse<const V extends Verbs = typeof VERBS>(
  argv: readonly string[],
  verbs: V = VERBS as Verbs as V,
): Arguments<V> {
  const wrong = (text: string) => ({ error: `${text}\n\`spillway --help\` lists verbs and options.` })
  const parts = split(argv, verbs)
  if (typeof parts === 'string') return wrong(parts)
  const { values, words } = parts
  const [name = USUAL, ...positionals] = words
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined
  if (verb === undefined) {
    const names = Object.keys(verbs)
    const meant = nearest(name, names)
    return wrong(`There is no verb ${name}${meant ? `; did you mean ${meant}?` : '.'} Verbs: ${names.join(', ')}.`)
  }
  if (values.version) return { version: true }
  if (values.help) return { help: words.length === 0 ? overview(verbs) : helpFor(name, verb) }
  const { help: _, version: __, ...common } = COMMON
  const taken: Options = { ...verb.options, ...common }
  const misplaced = Object.keys(values).find((each) => !Object.hasOwn(taken, each))
  if (misplaced !== undefined) {
    const takers = Object.keys(verbs).filter((each) => Object.hasOwn(verbs[each]?.options ?? {}, misplaced))
    return wrong(`--${dashed(misplaced)} is for ${list(takers)}; ${name} does not take it.`)
  }
  const count = miscounted(name, verb, positionals)
  if (count !== undefined) return wrong(count)
  const options = Object.entries(taken).map(([each, option]) => [
    each,
    values[each] ?? (isValued(option) ? undefined : false),
  ])
  return { verb: name, options: Object.fromEntries(options), positionals } as unknown as Invocation<V>
}
