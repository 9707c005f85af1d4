/**
 * `spillway top`: what comes most often now. On a terminal the table is shown anew every two seconds until Ctrl-C, and the last one stays;
 * on a pipe there is one.
 */
import type { TopReport } from '../../admin/top.ts'
import type { Loaded } from '../../config/load.ts'
import { SettingsError } from '../../config/mistakes.ts'
import { messageOf } from '../../core/errors.ts'
import { visible } from '../../core/visible.ts'
import type { TopOf } from '../../telemetry/traffic/report.ts'
import { askFor, LONGEST_MS, NotDone, runVerb, type VerbOptions, type VerbTold } from '../admin-verb.ts'
import type { Admin } from '../ask-node.ts'
import type { Screen } from './screen.ts'
import { tableOf } from './table.ts'

interface TopOptions extends VerbOptions {
  readonly by?: TopOf | undefined
  readonly once: boolean
}

const EVERY_MS = 2000
/** Lines of the screen besides the table. */
const AROUND = 3

const asking =
  (by: TopOf) =>
  async (admin: Admin): Promise<TopReport> =>
    (await askFor(admin, { method: 'GET', path: `/api/v1/top?by=${by}`, longestMs: LONGEST_MS })) as TopReport

/** Never rejects. @param screen where it may be painted */
export async function top(loaded: Loaded | SettingsError, options: TopOptions, screen: Screen): Promise<VerbTold> {
  const { by = 'network', once, json } = options
  const ask = asking(by)
  const { isTerminal } = screen
  // A pipe has no width, and whoever reads it wants the names whole.
  const columns = isTerminal ? screen.size().columns : Number.POSITIVE_INFINITY
  const inWords = (report: TopReport): string => `${tableOf(report, { columns }).join('\n')}\n`
  const first = await runVerb(loaded, options, () => ask, inWords)
  if (first.code !== 0 || once || json || !isTerminal || loaded instanceof SettingsError) return first
  return watched(() => ask(loaded.settings), by, screen)
}

/** Shows it until the user wants no more. A node that does not answer for a while is asked again. @returns the last table */
async function watched(ask: () => Promise<TopReport>, by: TopOf, screen: Screen): Promise<VerbTold> {
  let report: TopReport | undefined
  let trouble = ''
  try {
    do {
      try {
        report = await ask()
        trouble = ''
      } catch (error) {
        if (!(error instanceof NotDone)) throw error
        trouble = visible(messageOf(error)).replaceAll('\n', ' ')
      }
      const { columns, rows } = screen.size()
      const title = trouble === '' ? `Most often by ${by}, in the last minutes. Ctrl-C ends.` : `Not now: ${trouble}`
      const table = report === undefined ? [] : tableOf(report, { columns, rows: rows - AROUND })
      screen.paint([title.slice(0, columns), '', ...table].slice(0, Math.max(1, rows - 1)))
    } while (await screen.wait(EVERY_MS))
  } finally {
    screen.leave()
  }
  const { columns } = screen.size()
  return { output: report === undefined ? trouble : `${tableOf(report, { columns }).join('\n')}\n`, code: 0 }
}
