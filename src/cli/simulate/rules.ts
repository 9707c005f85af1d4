/** The settings that a replay obeys: those of serve, and those that the command line tries instead. */
import { readFileSync } from 'node:fs'
import { ratesOf } from '../../config/limit-rules.ts'
import { type Loaded, load } from '../../config/load.ts'
import { SettingsError } from '../../config/mistakes.ts'
import { keyOf, type SettingName } from '../../config/settings.ts'
import { compile } from '../../core/ip.ts'
import type { ReplayRules } from './replay.ts'

export const REPLAYED = [
  'SPILLWAY_LIMIT_IP_CONNECTIONS',
  'SPILLWAY_LIMIT_IP_CONCURRENCY',
  'SPILLWAY_LIMIT_NET_CONNECTIONS',
  'SPILLWAY_LIMIT_GLOBAL_CONNECTIONS',
  'SPILLWAY_LIMIT_IP_MESSAGES',
  'SPILLWAY_LIMIT_GLOBAL_MESSAGES',
  'SPILLWAY_LIMIT_IP_RECIPIENTS',
  'SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS',
  'SPILLWAY_LIMIT_NET_UNKNOWN_RECIPIENTS',
  'SPILLWAY_LIMIT_KNOWN_FACTOR',
  'SPILLWAY_ALLOW',
  'SPILLWAY_DENY',
  'SPILLWAY_RELAYS',
  'SPILLWAY_RCPT_DOMAINS',
] as const satisfies readonly SettingName[]

const PREFIX = 'SPILLWAY_'
const TRIED = /^([A-Z][A-Z0-9_]*)=(.*)$/s

export interface Asked {
  readonly files: readonly string[]
  readonly tried: Readonly<Record<string, string>>
}

/** Tells settings and logs apart. @returns what is wrong with the command line */
export function askedIn(positionals: readonly string[]): Asked | { readonly error: string } {
  const files: string[] = []
  const tried: Record<string, string> = {}
  for (const word of positionals) {
    const [, written, value] = TRIED.exec(word) ?? []
    if (written === undefined || value === undefined) {
      files.push(word)
      continue
    }
    const name = written.startsWith(PREFIX) ? written : PREFIX + written
    if (!REPLAYED.some((each) => each === name)) {
      const names = REPLAYED.map((each) => each.slice(PREFIX.length)).join(', ')
      return { error: `${written} cannot be replayed from a log. What can be: ${names}.` }
    }
    if (Object.hasOwn(tried, name)) return { error: `${written} is given twice.` }
    tried[name] = value
  }
  return { files, tried }
}

export interface RuleSources {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly hostname: string
  readonly envFile?: string | undefined
}

/** No mail server is asked, so a machine that only replays need not name one. */
const UNASKED = { SPILLWAY_UPSTREAMS: 'mail.example.net:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'none' } as const

/** @throws SettingsError */
export function loadedWith({ env, hostname, envFile }: RuleSources, tried: Asked['tried']): Loaded {
  // What is tried takes the place of a file that the environment names for the same setting.
  const files = new Set(Object.keys(tried).map((name) => `${name}_FILE`))
  const own = Object.fromEntries(Object.entries(env).filter(([name]) => !files.has(name)))
  const read = (more: Readonly<Record<string, string>>): Loaded =>
    load({
      env: { ...more, ...own, ...tried },
      readFile: (path) => readFileSync(path, 'utf8'),
      ...{ hostname, openFiles: Number.POSITIVE_INFINITY, envFile },
    })
  try {
    return read({})
  } catch (error) {
    const isUnasked =
      error instanceof SettingsError && error.mistakes.every(({ name, value }) => name in UNASKED && !value)
    if (!isUnasked) throw error
    const missing = new Set<string>(error.mistakes.map(({ name }) => name))
    return read(Object.fromEntries(Object.entries(UNASKED).filter(([name]) => missing.has(name))))
  }
}

export function rulesOf({ settings, origins }: Loaded): ReplayRules {
  const isGiven = (name: SettingName): boolean => origins[keyOf(name)] !== 'default'
  return {
    rates: ratesOf(settings),
    concurrency: settings.limitIpConcurrency,
    factors: { known: settings.limitKnownFactor, stress: settings.limitStressFactor },
    isDenied: compile(settings.deny),
    isAllowed: isGiven('SPILLWAY_ALLOW') ? compile(settings.allow) : undefined,
    isRelay: isGiven('SPILLWAY_RELAYS') ? compile(settings.relays) : undefined,
    domains: settings.rcptDomains,
  }
}
