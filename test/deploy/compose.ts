/** The compose files for tests, as docker-compose reads them (`config` needs no engine). */
import { execFile } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { command } from '../services/packages.ts'
import { ROOT } from './image.ts'

export interface Service {
  readonly image: string
  readonly profiles?: readonly string[]
  readonly build?: unknown
  readonly user?: string
  readonly network_mode?: string
  readonly restart?: string
  readonly read_only?: boolean
  readonly cap_drop?: readonly string[]
  readonly cap_add?: readonly string[]
  readonly privileged?: boolean
  readonly ports?: readonly string[]
  readonly security_opt?: readonly string[]
  readonly stop_grace_period?: string
  readonly mem_limit?: string
  readonly pids_limit?: number
  readonly ulimits?: Readonly<Record<string, { readonly soft: number; readonly hard: number }>>
  readonly environment?: Readonly<Record<string, string | null>>
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean }
  readonly volumes?: readonly string[]
  readonly secrets?: readonly { readonly source: string; readonly target?: string }[]
  readonly tmpfs?: readonly string[]
  readonly entrypoint?: readonly string[]
  readonly command?: readonly string[]
  readonly logging?: { readonly options?: Readonly<Record<string, string>> }
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
}

export interface Compose {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
  readonly secrets?: Readonly<Record<string, { readonly file: string }>>
}

export const STACK_FILE = join(ROOT, 'docker-compose.yml')

/** The services that Compose starts with these profiles, and all else of the file. */
export function withProfiles(all: Compose, ...profiles: readonly string[]): Compose {
  const isOn = ({ profiles: of = [] }: Service): boolean =>
    of.length === 0 || of.some((profile) => profiles.includes(profile))
  return { ...all, services: Object.fromEntries(Object.entries(all.services).filter(([, service]) => isOn(service))) }
}

/**
 * @param env what the shell has
 * @param dotEnv what the `.env` beside the file holds; a developer's own is never read
 *
 * @returns all services, whatever their profiles. Rejects with what docker-compose says is wrong.
 */
export async function composeConfig(
  file: string | readonly string[],
  env: Readonly<Record<string, string>> = {},
  dotEnv = '',
): Promise<Compose> {
  const { path, root, env: searchPaths } = command('docker-compose')
  // Debian has it as a Python script or, later, as a program; its Python may be in the cache beside it.
  const isScript = readFileSync(path).subarray(0, 2).toString() === '#!'
  const python = [...globSync(join(root, 'usr/bin/python3')), '/usr/bin/python3'].find(existsSync) ?? 'python3'
  const folder = mkdtempSync(join(tmpdir(), 'spillway-env-'))
  const envFile = join(folder, '.env')
  writeFileSync(envFile, dotEnv)
  const profiles = ['demo', 'monitoring'].flatMap((profile) => ['--profile', profile])
  const files = [file].flat().flatMap((each) => ['-f', each])
  const args = [...files, '--env-file', envFile, ...profiles, 'config']
  const [program, all] = isScript ? [python, [path, ...args]] : [path, args]
  const shell = { PATH: process.env.PATH ?? '', HOME: '/nonexistent', COMPOSE_PROJECT_NAME: 'test', ...env }
  try {
    const { stdout } = await promisify(execFile)(program, all, { cwd: ROOT, env: { ...searchPaths, ...shell } })
    return parse(stdout) as Compose
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A time as compose writes it, in seconds: `720s`, `12m0s`. */
export function seconds(text: string): number {
  const [, hours = '0', minutes = '0', rest = '0'] = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text) ?? []
  return Number(hours) * 3600 + Number(minutes) * 60 + Number(rest)
}
