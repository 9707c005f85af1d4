/** What a rule between settings gets to see, and how it says what it found. The rules are in the files *-rules.ts. */
import type { Read } from './entries.ts'
import type { SettingKey, SettingName, Settings } from './settings.ts'

export interface Ground {
  readonly settings: Settings
  /** Whether this setting was given, and is not the default. */
  isGiven(key: SettingKey): boolean
  /** Whether all of them could be read: no rule is applied to a value that is not there. */
  isSound(...names: SettingName[]): boolean
  /** What the machine calls itself. */
  readonly hostname: string
  /** The limit on open files (`ulimit -n`). */
  readonly openFiles: number
  readonly read: Read
}

export interface Report {
  /** What cannot be meant. `expected` says what would be right. */
  mistake(name: SettingName, expected: string): void
  /** What can be meant but often is not. */
  warn(text: string): void
}

export type Rule = (ground: Ground, report: Report) => void
