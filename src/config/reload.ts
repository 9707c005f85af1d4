/**
 * What a reload changes. Settings that were read again are compared with those in force: those that a reload can change
 * (`live` in settings.ts) are taken, the others keep their values and are named. Everything here is a plain value, so
 * that the settings can be read in a thread of its own: a list of 100,000 networks takes a second to read, and mail must
 * not wait for it.
 */
import { createHash } from 'node:crypto'
import { SYSTEM_CLOCK } from '../core/clock.ts'
import { type NetworkTable, tableOf } from '../core/ip.ts'
import { recordOf } from '../core/record.ts'
import { authoritiesIn } from './authorities.ts'
import { reader } from './entries.ts'
import { type Loaded, load, type Sources } from './load.ts'
import { HIDDEN, type Mistake, SettingsError } from './mistakes.ts'
import {
  keyOf,
  NETWORK_LISTS,
  type NetworkList,
  type PlainSettings,
  SETTING_NAMES,
  type SettingName,
  type Settings,
  settingOf,
  show,
} from './settings.ts'

export type NetworkLists = Readonly<Record<NetworkList, NetworkTable>>

const NETWORK_KEYS: readonly NetworkList[] = NETWORK_LISTS.map(keyOf)

export const networkListsOf = (settings: Pick<Settings, NetworkList>): NetworkLists =>
  recordOf(NETWORK_KEYS, (key) => tableOf(settings[key]))

/** One setting, in words. */
interface Summary {
  /** Differs wherever the values do. */
  readonly exact: string
  /** The same, without what is secret. */
  readonly open: string
  /** For people: short, without what is secret. */
  readonly brief: string
}

/** Settings as they were read, all of them sound. */
export interface Reading {
  readonly settings: PlainSettings
  readonly lists: NetworkLists
  /** What SPILLWAY_UPSTREAM_TLS_CA names, as it was when it was read: PEM, one CA each. */
  readonly authorities: readonly string[] | undefined
  readonly summaries: Readonly<Record<SettingName, Summary>>
  readonly warnings: readonly string[]
}

/** What came of reading the settings again. */
export type Reread =
  | { readonly reading: Reading }
  | { readonly mistakes: readonly Mistake[]; readonly warnings: readonly string[] }

export interface Change {
  readonly setting: SettingName
  /** In force before the reload; as an operator would write it, shortened if it is long, hidden if it is secret. */
  readonly before: string
  /** What the reload read, likewise. */
  readonly read: string
}

export interface Merged {
  /** What is in force from now on. */
  readonly reading: Reading
  /** What the reload has changed. */
  readonly changed: readonly Change[]
  /** What differs from the settings in force and takes a restart. */
  readonly needsRestart: readonly Change[]
}

/** The outcome of a reload, for whoever asked for it. */
export interface ReloadReport {
  readonly result: 'ok' | 'failed'
  readonly hash: string
  readonly changed: readonly Change[]
  readonly needsRestart: readonly Change[]
  readonly mistakes: readonly Mistake[]
  /** Why the settings could not be read at all; absent where it lies in the settings. */
  readonly error?: string
}

const LONGEST = 100
const AUTHORITIES: SettingName = 'SPILLWAY_UPSTREAM_TLS_CA'
const HASH_LENGTH = 12

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

function briefly(text: string): string {
  if (text.length <= LONGEST) return text
  const entries = text.split(',').length
  return entries === 1 ? `${text.slice(0, LONGEST)}…` : `${text.slice(0, text.indexOf(','))},… (${entries} entries)`
}

function summaryOf(name: SettingName, settings: Settings, authorities: readonly string[] | undefined): Summary {
  const value = settings[keyOf(name)]
  const isSecret = settingOf(name).secret === true && value !== undefined
  const text = isSecret ? HIDDEN : show(name, settings)
  if (name === AUTHORITIES && authorities !== undefined) {
    // The file counts, not only its name.
    const exact = sha256(authorities.join())
    return {
      exact: `${text} ${exact}`,
      open: `${text} ${exact}`,
      brief: `${text} (sha256 ${exact.slice(0, HASH_LENGTH)})`,
    }
  }
  const isList = NETWORK_LISTS.some((list) => list === name)
  // The text of a network says all about it, in a third of the characters.
  return { exact: sha256(isList ? text : JSON.stringify(value ?? null)), open: sha256(text), brief: briefly(text) }
}

/** @param authorities what SPILLWAY_UPSTREAM_TLS_CA names */
export function readingOf(
  { settings, warnings }: Pick<Loaded, 'settings' | 'warnings'>,
  authorities?: readonly string[],
): Reading {
  const { allow, deny, relays, proxyProtocolFrom, ...plain } = settings
  return {
    settings: plain,
    lists: networkListsOf({ allow, deny, relays, proxyProtocolFrom }),
    authorities,
    summaries: recordOf(SETTING_NAMES, (name) => summaryOf(name, settings, authorities)),
    warnings,
  }
}

/** The same, with what the files that they name hold. Throws if one cannot be used. */
export const readingWith = (
  loaded: Pick<Loaded, 'settings' | 'warnings'>,
  readFile: Sources['readFile'],
  now = SYSTEM_CLOCK.now(),
): Reading => readingOf(loaded, authoritiesIn(loaded.settings.upstreamTlsCa, reader(readFile), now))

/** Reads the settings again: all of them, by the same rules as at the start. */
export function rereadOf(sources: Sources): Reread {
  try {
    return { reading: readingWith(load(sources), sources.readFile, sources.now) }
  } catch (error) {
    if (error instanceof SettingsError) return { mistakes: error.mistakes, warnings: error.warnings }
    throw error
  }
}

const SHARED_NAMES = SETTING_NAMES.filter((name) => !settingOf(name).perNode)

/** A short hash of the settings. It tells whether two nodes that are meant to be alike are, and nothing of what is secret. */
export const hashOf = ({ summaries }: Reading): string =>
  sha256(SHARED_NAMES.map((name) => `${name} ${summaries[name].open}\n`).join('')).slice(0, HASH_LENGTH)

const readValue = ({ settings, lists }: Reading, name: SettingName): unknown => ({ ...settings, ...lists })[keyOf(name)]

/** What is in force after a reload that read `next`. */
export function merge(before: Reading, next: Reading): Merged {
  const different = SETTING_NAMES.filter((name) => before.summaries[name].exact !== next.summaries[name].exact)
  const taken = different.filter((name) => settingOf(name).live)
  const change = (setting: SettingName): Change => {
    return { setting, before: before.summaries[setting].brief, read: next.summaries[setting].brief }
  }
  const settings: Record<string, unknown> = { ...before.settings }
  const lists: Record<string, unknown> = { ...before.lists }
  for (const name of taken) {
    const key = keyOf(name)
    const into = key in lists ? lists : settings
    into[key] = readValue(next, name)
  }
  return {
    reading: {
      settings: settings as unknown as PlainSettings,
      lists: lists as unknown as NetworkLists,
      authorities: (taken.includes(AUTHORITIES) ? next : before).authorities,
      summaries: recordOf(SETTING_NAMES, (name) => (taken.includes(name) ? next : before).summaries[name]),
      warnings: next.warnings,
    },
    changed: taken.map(change),
    needsRestart: different.filter((name) => !taken.includes(name)).map(change),
  }
}
