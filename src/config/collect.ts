/**
 * Collects the texts that the operator gave: from the process environment, from the env file, and from the files that
 * NAME_FILE points to. It parses no value (load.ts does), but it judges every name: a setting whose name is mistyped is
 * a limit that everybody believes to be in force.
 */
import type { ReadText } from './entries.ts'
import { parseEnvFile } from './env-file.ts'
import { looksLikePath, soundsSecret } from './masks.ts'
import { HIDDEN, type Mistake } from './mistakes.ts'
import { nearest } from './nearest.ts'
import { ENV_FILE, isSetting, repeated, SETTING_NAMES, type SettingName, settingOf } from './settings.ts'

const PREFIX = 'SPILLWAY_'

export interface Text {
  readonly text: string
  readonly origin: string
  /** The file that the text was read from, where NAME_FILE was given. */
  readonly path?: string
}

export interface Collected {
  readonly texts: ReadonlyMap<SettingName, Text>
  /** Settings with a mistake already reported here: they must not be reported as missing too. */
  readonly broken: ReadonlySet<SettingName>
  readonly mistakes: readonly Mistake[]
  readonly warnings: readonly string[]
}

interface Named {
  readonly value: string
  readonly origin: string
}
type Source = ReadonlyMap<string, Named>

const LINK =
  /^SPILLWAY(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/

/**
 * Kubernetes puts variables for every Service of the namespace into each pod, and a Service called `spillway` gives
 * names that look like ours. A name that ends in `_PORT` is one of them only if it holds what Kubernetes puts there:
 * SPILLWAY_PORT=25 is a mistake.
 */
const isServiceLink = (name: string, value: string): boolean =>
  LINK.test(name) || (/^SPILLWAY(_[A-Z0-9_]+)?_PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value))

/** Names that people try, and that differ too much from ours for nearest() to find the right one. */
const ALIASES: Readonly<Record<string, SettingName>> = {
  SPILLWAY_PORT: 'SPILLWAY_LISTEN',
  SPILLWAY_BIND: 'SPILLWAY_LISTEN',
  SPILLWAY_BACKEND: 'SPILLWAY_UPSTREAMS',
  SPILLWAY_BACKENDS: 'SPILLWAY_UPSTREAMS',
  SPILLWAY_WHITELIST: 'SPILLWAY_ALLOW',
  SPILLWAY_BLACKLIST: 'SPILLWAY_DENY',
}

function unknown(name: string, { value, origin }: Named): Mistake {
  const file = name.endsWith('_FILE')
  const bare = file ? name.slice(0, -'_FILE'.length) : name
  const short = nearest(
    bare.slice(PREFIX.length),
    SETTING_NAMES.map((each) => each.slice(PREFIX.length)),
  )
  const meant = ALIASES[bare] ?? SETTING_NAMES.find((each) => each === PREFIX + short)
  const expected = meant
    ? `the name of a setting; did you mean ${meant}${file ? '_FILE' : ''}?`
    : 'the name of a setting; `spillway serve --help` lists them'
  // A secret under a mistyped name is still a secret, and a value under an unrecognised name may be one too.
  const told = meant === undefined || soundsSecret(name) ? HIDDEN : repeated(meant, value)
  return { name, value: told, origin, expected, default: undefined }
}

/** The settings in the env file. A file that cannot be read is a mistake, and so is each wrong line. */
function readEnvFile(path: string, read: ReadText, mistakes: Mistake[], broken: Set<SettingName>): Source {
  const source = new Map<string, Named>()
  const content = read(path)
  if ('hint' in content) {
    const expected = `the path of a file with KEY=VALUE lines; ${content.hint}`
    mistakes.push({ name: ENV_FILE.name, value: path, origin: '', expected, default: 'none' })
    return source
  }
  const { lines, wrong } = parseEnvFile(content.text, PREFIX)
  for (const { name, value, line } of lines) source.set(name, { value, origin: `env file ${path}:${line}` })
  for (const { line, name, expected } of wrong) {
    if (name !== undefined && isSetting(name)) broken.add(name)
    const origin = `env file ${path}:${line}`
    const value = name === undefined ? undefined : HIDDEN
    mistakes.push({ name: name ?? `line ${line}`, value, origin, expected, default: undefined })
  }
  return source
}

/** A name with our prefix that is not a setting is a mistake, unless Kubernetes made it. */
function judgeNames(source: Source, mistakes: Mistake[], links: string[], isEnvFile: boolean): void {
  for (const [name, { value, origin }] of source) {
    if (isSetting(name) || (name.endsWith('_FILE') && isSetting(name.slice(0, -'_FILE'.length)))) continue
    if (name === ENV_FILE.name) {
      if (!isEnvFile || value.trim() === '') continue
      const expected = 'nothing: an env file cannot name another; set it in the process environment'
      mistakes.push({ name, value, origin, expected, default: undefined })
    } else if (isServiceLink(name, value)) links.push(name)
    else mistakes.push(unknown(name, { value, origin }))
  }
}

/** The text that `source` has for one setting, under NAME or NAME_FILE; undefined where it has none. */
function textOf(name: SettingName, source: Source, read: ReadText, warnings: string[]): Text | Mistake | undefined {
  const plain = source.get(name)
  const file = source.get(`${name}_FILE`)
  const text = plain?.value.trim() ?? ''
  const path = file?.value.trim() ?? ''
  const { default: usual } = settingOf(name)
  if (text !== '' && path !== '') {
    const expected = `either ${name} or ${name}_FILE, not both`
    const value = repeated(name, text)
    return { name, value, origin: `${plain?.origin} and ${file?.origin}`, expected, default: usual }
  }
  if (text !== '' && plain) return { text, origin: plain.origin }
  if (path === '' || !file) return undefined
  const content = read(path)
  if ('hint' in content) {
    const expected = `the path of a file that holds the value; ${content.hint}`
    // The operator may have written the secret itself in place of a path.
    const value = looksLikePath(path) ? path : repeated(name, path)
    return { name: `${name}_FILE`, value, origin: file.origin, expected, default: undefined }
  }
  const stored = content.text.trim()
  if (stored === '') {
    warnings.push(`${name}_FILE=${path} is an empty file, so ${name} counts as not set`)
    return undefined
  }
  return { text: stored, origin: `file ${path}`, path }
}

/** @param envFile the path of --env-file; it wins over SPILLWAY_ENV_FILE */
export function collect(
  env: Readonly<Record<string, string | undefined>>,
  read: ReadText,
  envFile?: string,
): Collected {
  const mistakes: Mistake[] = []
  const warnings: string[] = []
  const links: string[] = []
  const broken = new Set<SettingName>()
  const environment = new Map<string, Named>()
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith(PREFIX) && value !== undefined) environment.set(name, { value, origin: 'environment' })
  }
  const path = envFile ?? env[ENV_FILE.name]?.trim() ?? ''
  const file = path === '' ? new Map<string, Named>() : readEnvFile(path, read, mistakes, broken)
  judgeNames(environment, mistakes, links, false)
  judgeNames(file, mistakes, links, true)
  if (links.length > 0) {
    const more = links.length - 1
    const names = more === 0 ? links[0] : `${links[0]} and ${more} more ${more === 1 ? 'name' : 'names'}`
    warnings.push(
      `ignored ${names}, which Kubernetes makes for a Service; enableServiceLinks: false in the pod keeps them away`,
    )
  }
  const texts = new Map<SettingName, Text>()
  for (const name of SETTING_NAMES) {
    const found = textOf(name, environment, read, warnings) ?? textOf(name, file, read, warnings)
    if (found === undefined) continue
    if ('expected' in found) {
      mistakes.push(found)
      broken.add(name)
    } else texts.set(name, found)
  }
  return { texts, broken, mistakes, warnings }
}
