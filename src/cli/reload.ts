/**
 * `spillway reload`: asks the node that is running with these settings to read them again, over its admin port, and tells what came of
 * it. The exit codes are 0 for settings that are in force, 78 for mistakes in them, and 1 for everything else.
 */
import { hostPortsText } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import { describe, HIDDEN, SettingsError } from '../config/mistakes.ts'
import type { ReloadReport } from '../config/reload.ts'
import { messageOf } from '../core/errors.ts'
import { visible } from '../telemetry/log.ts'
import { type Admin, askNode, whyNoAnswer, whyRefused } from './ask-node.ts'

/** What the verb prints, with the final line end, and the exit code. */
export interface Told {
  readonly output: string
  readonly code: 0 | 1 | 78
}

/** Longer than a node takes for two reloads, of which ours is the second. A node closes before that by itself. */
const LONGEST_MS = 130_000

/** Why there is no report, and what to do about it. */
class NoReport extends Error {}

const whyNot = (error: NodeJS.ErrnoException, at: string): string =>
  whyNoAnswer(error, at, {
    doing: 'reading its settings: its log tells what came of it',
    tells: 'whether the settings were read',
  })

function refused(status: number, at: string, token: string | undefined): string {
  if (status === 404) return `The node at ${at} has no settings to read again, as a demo has none.`
  return (
    whyRefused(status, at, token) ??
    `What answers at ${at} (SPILLWAY_ADMIN_LISTEN) with status ${status} is not Spillway.`
  )
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
  if (admin.adminListen.port === 0 && admin.adminListen.socket === undefined)
    throw new NoReport(
      'Which port the node has is not known: SPILLWAY_ADMIN_LISTEN has port 0. Send the node SIGHUP instead.',
    )
  const answer = await askNode(admin, { method: 'POST', path: '/api/v1/reload', longestMs: LONGEST_MS }).catch(
    (error: unknown) => {
      throw new NoReport(whyNot(error as NodeJS.ErrnoException, at))
    },
  )
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
