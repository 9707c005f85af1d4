/** What a rule between settings sees, and how it reports what it found. The rules are in rules.ts and *-rules.ts. */
import type { ReadText } from './entries.ts'
import type { SettingKey, SettingName, Settings } from './settings.ts'

export interface Ground {
  readonly settings: Settings
  /** Whether the operator gave this setting, so that its value is not the default. */
  isGiven(key: SettingKey): boolean
  /** Whether all of them could be parsed: no rule is applied to a value that is not there. */
  isSound(...names: SettingName[]): boolean
  /** What the machine calls itself. */
  readonly hostname: string
  /** The limit on open files (`ulimit -n`). */
  readonly openFiles: number
  /** How many of them this process may use. */
  readonly cores: number
  /** What this process lacks to run nft, in words. */
  readonly lacksForNft: readonly string[]
  readonly read: ReadText
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** What can be meant but often is not. */
export interface Warning {
  readonly what: string
  /** What to do, a sentence of its own; undefined: what is wrong says it. */
  readonly cure?: string | undefined
  /** Undefined: it is about settings alone. */
  readonly about?: 'certificates' | 'open files'
}

/** A warning in words. */
export const warningText = ({ what, cure }: Warning): string => (cure === undefined ? what : `${what}. ${cure}`)

export interface Report {
  /** Reports what cannot be meant. `expected` says what would be right. */
  mistake(name: SettingName, expected: string): void
  /** Reports what can be meant but often is not. @param more what else there is to it */
  warn(what: string, more?: Omit<Warning, 'what'>): void
}

export type Rule = (ground: Ground, report: Report) => void
