/** What a rule between settings sees, and how it reports. The rules are in rules.ts and the files *-rules.ts. */
import type { Read } from './entries.ts'
import type { SettingKey, SettingName, Settings } from './settings.ts'

export interface Ground {
  readonly settings: Settings
  /** Whether the operator gave this setting. */
  isGiven(key: SettingKey): boolean
  /** Whether all of them could be read. No rule may be applied to a value that could not. */
  isSound(...names: SettingName[]): boolean
  /** What the machine calls itself. */
  readonly hostname: string
  /** The limit on open files (`ulimit -n`). */
  readonly openFiles: number
  readonly read: Read
}

export interface Report {
  /** For what cannot be intended. `expected` says what would be right. */
  mistake(name: SettingName, expected: string): void
  /** For what may be intended but often is not. */
  warn(text: string): void
}

export type Rule = (ground: Ground, report: Report) => void
