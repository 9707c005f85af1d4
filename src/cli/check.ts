/** `spillway check`: every setting with the value in force, where it came from, and everything wrong or doubtful. */
import type { Loaded } from '../config/load.ts'
import { describe, HIDDEN, SettingsError } from '../config/mistakes.ts'
import { GROUPS, keyOf, SETTING_NAMES, type SettingName, settingOf, show } from '../config/settings.ts'

const isHidden = (name: SettingName, { settings }: Loaded): boolean =>
  settingOf(name).secret === true && settings[keyOf(name)] !== undefined

/** As the operator would write it; a default as the docs write it (300s, not 5m). */
function textOf(name: SettingName, loaded: Loaded): string {
  if (isHidden(name, loaded)) return HIDDEN
  const usual = loaded.origins[keyOf(name)] === 'default' ? settingOf(name).default : undefined
  return usual ?? show(name, loaded.settings)
}

const MOST_ENTRIES = 8

/** A deny list of thousands is shown by its first entries and its length. */
function brief(value: string): string {
  // Its entries have lines of their own, and their commas are theirs.
  if (value.includes('\n')) return value
  const entries = value.split(',')
  if (entries.length <= MOST_ENTRIES) return value
  return `${entries.slice(0, MOST_ENTRIES).join(',')},… (${entries.length} entries)`
}

const WIDEST = 32

function table(loaded: Loaded): string {
  const values = new Map(SETTING_NAMES.map((name) => [name, brief(textOf(name, loaded))]))
  const nameWidth = Math.max(...SETTING_NAMES.map((name) => name.length))
  const valueWidth = Math.min(
    WIDEST,
    Math.max(...[...values.values()].flatMap((value) => value.split('\n').map(({ length }) => length))),
  )
  const lines: string[] = []
  for (const [group, { title }] of Object.entries(GROUPS)) {
    lines.push(title)
    for (const name of SETTING_NAMES.filter((each) => settingOf(each).group === group)) {
      const [value = '', ...more] = (values.get(name) ?? '').split('\n')
      lines.push(`  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${loaded.origins[keyOf(name)]}`)
      lines.push(...more.map((each) => `  ${' '.repeat(nameWidth)}  ${each}`))
    }
    lines.push('')
  }
  return lines.join('\n')
}

const warned = (warnings: readonly string[]): string =>
  warnings.length === 0 ? '' : `Warnings:\n${warnings.map((each) => `  - ${each}`).join('\n')}\n\n`

function json(loaded: Loaded | SettingsError): string {
  const isWrong = loaded instanceof SettingsError
  const settings = isWrong
    ? undefined
    : Object.fromEntries(
        SETTING_NAMES.map((name) => [name, { value: textOf(name, loaded), origin: loaded.origins[keyOf(name)] }]),
      )
  const mistakes = isWrong ? loaded.mistakes : []
  return `${JSON.stringify({ ok: !isWrong, mistakes, warnings: loaded.warnings, settings }, undefined, 2)}\n`
}

/** What `check` prints, with the final line end. With mistakes main.ts exits with 78 (EX_CONFIG). */
export function check(loaded: Loaded | SettingsError, options: { readonly json: boolean }): string {
  if (options.json) return json(loaded)
  if (loaded instanceof SettingsError) return `${warned(loaded.warnings)}${describe(loaded.mistakes)}`
  return `${table(loaded)}\n${warned(loaded.warnings)}The settings are right.\n`
}
