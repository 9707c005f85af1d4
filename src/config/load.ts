/**
 * Makes `Settings` out of what the operator gave, or reports everything that is wrong with it. It is pure except for
 * the files it reads through `readFile`: `serve`, `check` and the tests all go through here.
 */
import { SYSTEM_CLOCK } from '../core/clock.ts'
import { hostname as hostnameKind } from './address-kinds.ts'
import { collect, type Text } from './collect.ts'
import { entriesOf, type ReadText, reader } from './entries.ts'
import { expectation } from './kinds.ts'
import { SPARE_FILES } from './machine-rules.ts'
import { type Mistake, SettingsError } from './mistakes.ts'
import { type Warning, warningText } from './rule.ts'
import { judge } from './rules.ts'
import {
  keyOf,
  repeated,
  SETTING_NAMES,
  type SettingKey,
  type SettingName,
  type Settings,
  settingOf,
} from './settings.ts'

export interface Sources {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The whole file as text; throws as node:fs does. */
  readonly readFile: (path: string) => string
  /** What the machine calls itself (os.hostname()). */
  readonly hostname: string
  /** The limit on open files (`ulimit -n`); Infinity where there is none. */
  readonly openFiles: number
  /** How many cores this process may use (os.availableParallelism()); 1 by default. */
  readonly cores?: number
  /** What this process lacks to run nft, in words; nothing by default. */
  readonly lacksForNft?: readonly string[]
  /** The path of `--env-file`; it wins over SPILLWAY_ENV_FILE. */
  readonly envFile?: string | undefined
  /** Milliseconds since the epoch, to judge certificates by; the default is the clock of the machine. */
  readonly now?: number
}

export interface Loaded {
  readonly settings: Settings
  /** `default`, `environment`, `env file PATH:LINE` or `file PATH`. */
  readonly origins: Readonly<Record<SettingKey, string>>
  /** What can be meant but often is not, one line each. */
  readonly warnings: readonly string[]
  /** Those of them that are about the settings together, in their parts. */
  readonly judged: readonly Warning[]
}

const MOST_CONNECTIONS = 20_000

/**
 * Six tenths of the files are for clients, and half as many again are for refused clients that have not closed yet. The
 * rest is for connections to the mail servers. The cap bounds memory where the open-file limit is in the millions.
 */
const defaultConnections = (openFiles: number): number =>
  Math.max(1, Math.min(MOST_CONNECTIONS, Math.floor((openFiles - SPARE_FILES) * 0.6)))

const label = (name: string): string => name.replace(/[^A-Za-z0-9.-]/g, '-').replace(/^[-.]+|[-.]+$/g, '')

/** The machine's own name may not be a valid name (`my_host`, ``), but a client must be greeted all the same. */
const defaultHostname = (name: string): string =>
  'value' in hostnameKind.parse(name) ? name : label(name) || 'localhost'

/** A list may have thousands of wrong entries; the first ones show what is wrong with it. */
const MOST_ISSUES = 10

interface Reading {
  readonly value?: unknown
  readonly mistakes: readonly Mistake[]
}

function read(name: SettingName, { text, origin, path }: Text, readText: ReadText, usual: string | undefined): Reading {
  const { kind } = settingOf(name)
  const mistake = (value: string, expected: string, at?: string): Mistake => {
    return { name, value: repeated(name, value), origin: at ?? origin, expected, default: usual }
  }
  if (!kind.list) {
    const parsed = kind.parse(text)
    if ('value' in parsed) return { value: parsed.value, mistakes: [] }
    return { mistakes: [mistake(text, expectation(kind, parsed.hint))] }
  }
  const { entries, wrong: unreadable } = entriesOf(text, readText, path)
  const mistakes = unreadable.map(({ entry, expected }) => mistake(entry.text, expected, entry.at))
  const parsed = kind.parse(entries.map((entry) => entry.text))
  if ('wrong' in parsed) {
    for (const { index, expected } of parsed.wrong) {
      const entry = index === undefined ? undefined : entries[index]
      // A list that is empty because its file could not be read is not a second mistake.
      if (entry !== undefined || unreadable.length === 0)
        mistakes.push(mistake(entry?.text ?? text, expected, entry?.at))
    }
  }
  if (mistakes.length > MOST_ISSUES) {
    const more = mistakes.length - MOST_ISSUES
    return { mistakes: [...mistakes.slice(0, MOST_ISSUES), mistake(`… and ${more} more like these`, kind.what)] }
  }
  return 'value' in parsed && mistakes.length === 0 ? { value: parsed.value, mistakes } : { mistakes }
}

/** The mistake of leaving out a setting that has no default: what to write, with every choice there is. */
function missing(name: SettingName): Mistake {
  const { doc, required, kind } = settingOf(name)
  const choices = Object.entries(kind.choices ?? {})
  const width = Math.max(...choices.map(([word]) => word.length))
  const lines = choices.map(([word, use]) => `  ${word.padEnd(width)}  ${use}`)
  if (lines.length > 0) lines.unshift('It has no default, because a wrong guess does harm. Choose one:')
  const expected = [doc, ...lines, `For example: ${name}=${required}`].join('\n')
  return { name, value: undefined, origin: 'not set', expected, default: undefined }
}

/** @throws SettingsError with every mistake found */
export function load({
  env,
  readFile,
  hostname,
  openFiles,
  cores = 1,
  lacksForNft = [],
  envFile,
  now = SYSTEM_CLOCK.now(),
}: Sources): Loaded {
  const readText = reader(readFile)
  const given = collect(env, readText, envFile)
  const mistakes = [...given.mistakes]
  const broken = new Set<SettingName>(given.broken)
  const values: Record<string, unknown> = {}
  const origins: Record<string, string> = {}
  const derived: Partial<Record<SettingName, string>> = {
    SPILLWAY_HOSTNAME: defaultHostname(hostname),
    SPILLWAY_MAX_CONNECTIONS: String(defaultConnections(openFiles)),
  }
  const usual = (name: SettingName): string | undefined => settingOf(name).default ?? derived[name]

  for (const name of SETTING_NAMES) {
    const key = keyOf(name)
    const text = given.texts.get(name)
    const standard = usual(name)
    origins[key] = text?.origin ?? 'default'
    if (text !== undefined) {
      const reading = read(name, text, readText, standard)
      values[key] = reading.value
      mistakes.push(...reading.mistakes)
      if (reading.mistakes.length > 0) broken.add(name)
    } else if (standard === undefined) {
      if (!broken.has(name)) mistakes.push(missing(name))
      broken.add(name)
    } else if (derived[name] !== undefined) {
      values[key] = name === 'SPILLWAY_HOSTNAME' ? standard : Number(standard)
    } else {
      values[key] = read(name, { text: standard, origin: 'default' }, readText, standard).value
    }
  }

  const settings = values as unknown as Settings
  const findings = judge({
    settings,
    isGiven: (key) => origins[key] !== 'default',
    isSound: (...names) => names.every((name) => !broken.has(name)),
    hostname,
    openFiles,
    cores,
    lacksForNft,
    read: readText,
    now,
  })
  for (const { name, expected } of findings.mistakes) {
    const text = given.texts.get(name)
    const value = text && repeated(name, text.text)
    mistakes.push({ name, value, origin: text?.origin ?? 'not set', expected, default: usual(name) })
  }
  const warnings = [...given.warnings, ...findings.warnings.map(warningText)]
  if (mistakes.length > 0) throw new SettingsError(mistakes, warnings)
  return { settings, origins: origins as Loaded['origins'], warnings, judged: findings.warnings }
}
