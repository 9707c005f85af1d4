/** A machine for tests: its environment and its files are plain values. */
import { type Loaded, load, type Sources } from '../../src/config/load.ts'
import { type Mistake, SettingsError } from '../../src/config/mistakes.ts'

export const REQUIRED = { SPILLWAY_UPSTREAMS: 'mail1.example.net:25', SPILLWAY_UPSTREAM_CLIENT_IP: 'xclient' }

export function machine(env: Sources['env'], files: Readonly<Record<string, string>> = {}): Sources {
  return {
    env,
    readFile(path) {
      const text = files[path]
      if (text === undefined) throw Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' })
      return text
    },
    hostname: 'mx1.example.net',
    openFiles: 65_536,
  }
}

/** Loads with what is required set already. */
export const loadWith = (env: Sources['env'], files?: Readonly<Record<string, string>>): Loaded =>
  load(machine({ ...REQUIRED, ...env }, files))

export function failure(sources: Sources): SettingsError {
  try {
    load(sources)
  } catch (error) {
    if (error instanceof SettingsError) return error
    throw error
  }
  throw new Error('expected a SettingsError, and the settings were taken')
}

/** The mistakes of an environment that has what is required. */
export const mistakesOf = (env: Sources['env'], files?: Readonly<Record<string, string>>): readonly Mistake[] =>
  failure(machine({ ...REQUIRED, ...env }, files)).mistakes
