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
} as const
const OPTION_NAMES = Object.keys(OPTIONS)

export interface Options {
  readonly envFile: string | undefined
  readonly json: boolean
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
  const head = `Usage: spillway ${verb} [OPTIONS]\n\n${VERBS[verb].replace(/^./, (letter) => letter.toUpperCase())}.\n\n${OPTION_HELP}\n`
  return verb === 'demo' ? head : `${head}\nSettings (default):\n${settingsHelp()}\n`
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
    if (name !== 'env-file' && value !== undefined) return wrong(`${rawName} takes no value.`)
  }
  const [verb = 'serve', ...rest] = positionals
  if (!isVerb(verb)) {
    const meant = nearest(verb, VERB_NAMES)
    return wrong(`There is no verb ${verb}${meant ? `; did you mean ${meant}?` : '.'} Verbs: ${VERB_NAMES.join(', ')}.`)
  }
  if (values.version === true) return { version: true }
  if (values.help === true) return { help: positionals.length === 0 ? OVERVIEW : helpFor(verb) }
  if (rest.length > 0) return wrong(`One verb at a time: ${verb} was followed by ${rest.join(' ')}.`)
  const envFile = values['env-file']
  return { verb, options: { envFile: typeof envFile === 'string' ? envFile : undefined, json: values.json === true } }
}
