/** The command line: which verb, which options. Pure, so that main.ts alone decides what is printed and how it ends. */
import { parseArgs } from 'node:util'
import { settingsHelp } from '../config/docs.ts'
import { nearest } from '../config/nearest.ts'

const VERBS = {
  serve: 'take mail and relay it; also without a verb',
  check: 'show every setting with its value and where it came from, and all mistakes',
  demo: 'show what Spillway does: a flood, honest senders and a mail server, all on this machine',
} as const
export type Verb = keyof typeof VERBS
export const VERB_NAMES = Object.keys(VERBS) as Verb[]

const OPTIONS = {
  'env-file': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
  port: { type: 'string' },
  'admin-port': { type: 'string' },
  seconds: { type: 'string' },
} as const
const OPTION_NAMES = Object.keys(OPTIONS)

/** Options of the demo with their least and greatest value; the other verbs have settings for that. */
const NUMBERS = {
  port: { min: 0, max: 65_535, what: 'a port, or 0 for any free one' },
  'admin-port': { min: 0, max: 65_535, what: 'a port, or 0 for any free one' },
  seconds: { min: 1, max: 86_400, what: 'a whole number of seconds, at most a day' },
} as const
const isNumber = (name: string): name is keyof typeof NUMBERS => Object.hasOwn(NUMBERS, name)

export interface Options {
  readonly envFile: string | undefined
  readonly json: boolean
  /** Of the demo: where it takes mail, where it serves metrics, and after how long it ends by itself. */
  readonly port?: number | undefined
  readonly adminPort?: number | undefined
  readonly seconds?: number | undefined
}

/** `help` goes to stdout with exit code 0; `error` to stderr with 64 (EX_USAGE of sysexits.h). */
export type Arguments =
  | { readonly verb: Verb; readonly options: Options }
  | { readonly help: string }
  | { readonly version: true }
  | { readonly error: string }

const OPTION_HELP = `Options:
  --env-file PATH   read settings from this file too; the process environment wins
  --json            say it in JSON
  -h, --help        this text; after a verb, more about it
  -V, --version     the version`

const DEMO_HELP = `Options:
  --port N          where Spillway takes mail (default 2525; 0: any free port)
  --admin-port N    where it serves /metrics (default 9025; 0: any free port)
  --seconds N       end by itself after so long (default 3600)
  -h, --help        this text

It needs no settings and reads none: SPILLWAY_* variables are not used.`

const width = Math.max(...VERB_NAMES.map((verb) => verb.length))
const VERB_LIST = VERB_NAMES.map((verb) => `  ${verb.padEnd(width)}  ${VERBS[verb]}`).join('\n')

const OVERVIEW = `Usage: spillway [VERB] [OPTIONS]

Stands in front of a mail cluster, sheds a flood of spam and relays everything else live.

${VERB_LIST}

${OPTION_HELP}

Settings are environment variables; two are required: SPILLWAY_UPSTREAMS and SPILLWAY_UPSTREAM_CLIENT_IP.
\`spillway serve --help\` lists them all.
`

function helpFor(verb: Verb): string {
  const head = `Usage: spillway ${verb} [OPTIONS]\n\n${VERBS[verb].replace(/^./, (letter) => letter.toUpperCase())}.`
  if (verb === 'demo') return `${head}\n\n${DEMO_HELP}\n`
  return `${head}\n\n${OPTION_HELP}\n\nSettings (default):\n${settingsHelp()}\n`
}

const isVerb = (text: string): text is Verb => text in VERBS && Object.hasOwn(VERBS, text)
const wrong = (text: string): Arguments => ({ error: `${text}\n\`spillway --help\` lists verbs and options.` })

/** @param argv without the program and its script. */
export function parse(argv: readonly string[]): Arguments {
  const { values, positionals, tokens } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name, rawName, value } = token
    if (!OPTION_NAMES.includes(name)) {
      const meant = nearest(name, OPTION_NAMES)
      return wrong(`There is no option ${rawName}${meant ? `; did you mean --${meant}?` : '.'}`)
    }
    if (name === 'env-file' && (value === undefined || value === '' || (!token.inlineValue && value.startsWith('-')))) {
      return wrong('--env-file needs the path of a file: --env-file /etc/spillway/spillway.env')
    }
    if (isNumber(name)) {
      const { min, max, what } = NUMBERS[name]
      if (value === undefined || !/^[0-9]{1,9}$/.test(value) || Number(value) < min || Number(value) > max)
        return wrong(`--${name} needs ${what}.`)
    } else if (name !== 'env-file' && value !== undefined) return wrong(`${rawName} takes no value.`)
  }
  const [verb = 'serve', ...rest] = positionals
  if (!isVerb(verb)) {
    const meant = nearest(verb, VERB_NAMES)
    return wrong(`There is no verb ${verb}${meant ? `; did you mean ${meant}?` : '.'} Verbs: ${VERB_NAMES.join(', ')}.`)
  }
  if (values.version === true) return { version: true }
  if (values.help === true) return { help: positionals.length === 0 ? OVERVIEW : helpFor(verb) }
  if (rest.length > 0) return wrong(`One verb at a time: ${verb} was followed by ${rest.join(' ')}.`)
  const misplaced = tokens.find(
    (token) => token.kind === 'option' && isNumber(token.name) !== (verb === 'demo') && token.name !== 'json',
  )
  if (misplaced?.kind === 'option') {
    return wrong(
      verb === 'demo'
        ? `The demo reads no settings: it takes no ${misplaced.rawName}.`
        : `${misplaced.rawName} is for the demo.`,
    )
  }
  const envFile = values['env-file']
  const numberOf = (name: keyof typeof NUMBERS): number | undefined =>
    typeof values[name] === 'string' ? Number(values[name]) : undefined
  return {
    verb,
    options: {
      envFile: typeof envFile === 'string' ? envFile : undefined,
      json: values.json === true,
      port: numberOf('port'),
      adminPort: numberOf('admin-port'),
      seconds: numberOf('seconds'),
    },
  }
}
