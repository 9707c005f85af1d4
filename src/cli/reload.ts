/**
 * `spillway reload`: asks the node that is running with these settings to read them again, over its admin port, and tells what came of
 * it. The exit codes are 0 for settings that are in force, 78 for mistakes in them, and 1 for everything else.
 */
import { hostPortsText } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import { describe, HIDDEN, SettingsError } from '../config/mistakes.ts'
import type { ReloadReport } from '../config/reload.ts'
import type { Settings } from '../config/settings.ts'
import { messageOf } from '../core/errors.ts'
import { visible } from '../telemetry/log.ts'
import { postToNode } from './ask-node.ts'

/** What the verb prints, with the final line end, and the exit code. */
export interface Told {
  readonly output: string
  readonly code: 0 | 1 | 78
}

type Admin = Pick<Settings, 'adminListen' | 'adminToken'>

/** Longer than a node takes for two reloads, of which ours is the second. A node closes before that by itself. */
const LONGEST_MS = 130_000

/** Why there is no report, and what to do about it. */
class NoReport extends Error {}

function whyNot(error: NodeJS.ErrnoException, at: string): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return `Nothing listens at ${at} (SPILLWAY_ADMIN_LISTEN). Is Spillway running, and was it started with these settings? Give the same environment, and --env-file if it has one.`
    case 'ECONNRESET':
      return `The node at ${at} has closed the connection without an answer. It may still be reading its settings: its log tells what came of it.`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `The host of ${at} (SPILLWAY_ADMIN_LISTEN) does not resolve.`
    case 'ABORT_ERR':
      return `The node at ${at} has not answered. Its log tells whether the settings were read.`
    default:
      return `The node at ${at} cannot be asked: ${messageOf(error)}.`
  }
}

function refused(status: number, at: string, token: string | undefined): string {
  switch (status) {
    case 401:
      return token === undefined
        ? `The node at ${at} wants a token: set SPILLWAY_ADMIN_TOKEN, or SPILLWAY_ADMIN_TOKEN_FILE, to the one that it has.`
        : `The node at ${at} does not take the token of SPILLWAY_ADMIN_TOKEN. If it was changed just now, the node still has the one before: send it SIGHUP instead, or ask it with that one.`
    case 404:
      return `The node at ${at} has no settings to read again, as a demo has none.`
    case 421:
      return `The node at ${at} does not answer to that name: list it in SPILLWAY_ADMIN_HOSTS, or give an address in SPILLWAY_ADMIN_LISTEN.`
    default:
      return `What answers at ${at} (SPILLWAY_ADMIN_LISTEN) with status ${status} is not Spillway.`
  }
}

const isReport = (value: unknown): value is ReloadReport =>
  typeof value === 'object' &&
  value !== null &&
  ['ok', 'failed'].includes(String((value as ReloadReport).result)) &&
  (['changed', 'needsRestart', 'mistakes'] as const).every((list) => Array.isArray((value as ReloadReport)[list]))

function reportIn(body: string): ReloadReport | undefined {
  try {
    const value: unknown = JSON.parse(body)
    return isReport(value) ? value : undefined
  } catch {
    return undefined
  }
}

async function ask(admin: Admin): Promise<ReloadReport> {
  const at = hostPortsText([admin.adminListen])
  if (admin.adminListen.port === 0)
    throw new NoReport(
      'Which port the node has is not known: SPILLWAY_ADMIN_LISTEN has port 0. Send the node SIGHUP instead.',
    )
  const answer = await postToNode(admin, '/api/v1/reload', LONGEST_MS).catch((error: unknown) => {
    throw new NoReport(whyNot(error as NodeJS.ErrnoException, at))
  })
  const report = reportIn(answer.body)
  if (report === undefined) throw new NoReport(refused(answer.status, at, admin.adminToken))
  return report
}

const changeLine = ({ setting, before, read }: ReloadReport['changed'][number]): string =>
  before === HIDDEN ? `  ${setting}  has another value` : `  ${setting}  ${before} -> ${read}`

function inWords({ result, hash, changed, needsRestart, mistakes, error }: ReloadReport): string {
  if (error !== undefined) return `The settings stay as they were: ${error}.\n`
  if (result === 'failed')
    return `${describe(mistakes)}\nAll settings stay as they were. Correct them and reload again.\n`
  const lines = [
    changed.length === 0 ? `No setting has changed (${hash}).` : `In force from now on (${hash}):`,
    ...changed.map(changeLine),
    ...(needsRestart.length === 0 ? [] : ['These need a restart. Until then the old value stays in force:']),
    ...needsRestart.map(changeLine),
  ]
  return `${lines.join('\n')}\n`
}

const codeOf = ({ result, error }: ReloadReport): Told['code'] => (result === 'ok' ? 0 : error === undefined ? 78 : 1)

/** Never rejects. A node is not asked to read settings in which there is a mistake already as they are read here. */
export async function reload(loaded: Loaded | SettingsError, { json }: { readonly json: boolean }): Promise<Told> {
  const told = (words: string, value: unknown, code: Told['code']): Told => {
    return { output: visible(json ? `${JSON.stringify(value, undefined, 2)}\n` : words), code }
  }
  if (loaded instanceof SettingsError) {
    const { mistakes } = loaded
    const words = `${describe(mistakes)}\nThe node was not asked, and keeps its settings.\n`
    return told(words, { result: 'failed', changed: [], needsRestart: [], mistakes }, 78)
  }
  try {
    const report = await ask(loaded.settings)
    return told(inWords(report), report, codeOf(report))
  } catch (error) {
    const words = messageOf(error)
    return told(`${words}\n`, { result: 'failed', changed: [], needsRestart: [], mistakes: [], error: words }, 1)
  }
}
