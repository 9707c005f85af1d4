/** `spillway level`: shows the level of overload and what it follows from, or pins it for a while. */
import type { LevelReport } from '../admin/orders.ts'
import type { OverloadStatus, Status } from '../admin/status.ts'
import type { Loaded } from '../config/load.ts'
import type { SettingsError } from '../config/mistakes.ts'
import { askFor, LONGEST_MS, NotDone, runVerb, timeOf, type VerbOptions, type VerbTold } from './admin-verb.ts'
import type { Admin } from './ask-node.ts'
import { LEVEL_WORDS } from './verbs.ts'

interface LevelOptions extends VerbOptions {
  readonly time?: string | undefined
}

const percent = (share: number): string => `${Math.round(share * 100)} %`

const modeInWords = ({ mode, pinnedUntil }: OverloadStatus): string => {
  const way =
    mode === 'auto' ? 'it follows the pressure' : mode === 'off' ? 'it is switched off' : `it is pinned to ${mode}`
  const by = pinnedUntil === undefined ? 'SPILLWAY_OVERLOAD' : `spillway level, until ${timeOf(pinnedUntil)}`
  return `${way} (${by})`
}

/** Of the banned the level says nothing: bans refuse them, whatever it is. */
function letIn(admission: OverloadStatus['admission']): string {
  const shares = Object.entries(admission).filter(([standing]) => standing !== 'banned')
  if (shares.every(([, share]) => share === 1))
    return 'the level lets everybody in: limits, bans and lists alone refuse'
  return `the level lets in, of each standing: ${shares.map(([standing, share]) => `${standing} ${percent(share)}`).join(', ')}`
}

/** Lines about the level, as `status` has them too. */
export function levelLines(overload: OverloadStatus): string[] {
  const { level, since, signal, pressure, signals, slowest, fullest, admission } = overload
  const width = Math.max(...Object.keys(signals).map(({ length }) => length))
  return [
    `level ${level} since ${timeOf(since)}; ${modeInWords(overload)}`,
    `pressure ${pressure}, by ${signal}; 1 is at its target:`,
    ...Object.entries(signals).map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    ...(slowest === undefined
      ? []
      : [`slowest mail server: ${slowest.upstream}, ${slowest.seconds} s to accept (p95)`]),
    ...(fullest === undefined ? [] : [`fullest queue: ${fullest.upstream}, ${fullest.pressure}`]),
    letIn(admission),
  ]
}

async function shown(admin: Admin): Promise<OverloadStatus> {
  const status = (await askFor(admin, { method: 'GET', path: '/api/v1/status', longestMs: LONGEST_MS })) as Status
  if (status.overload === undefined) throw new NotDone('No worker of the node has told its level yet: ask again.')
  return status.overload
}

function pinnedInWords({ mode, until }: LevelReport): string {
  const of = typeof mode === 'number' ? `level ${mode}` : mode
  return until === undefined
    ? `Nothing is pinned: SPILLWAY_OVERLOAD is ${of}.\n`
    : `The overload of this node is ${of} until ${timeOf(until)}. Then SPILLWAY_OVERLOAD decides again.\n`
}

/** Never rejects. @param positionals the level to pin; none: it is shown */
export function level(
  loaded: Loaded | SettingsError,
  [pinned]: readonly string[],
  options: LevelOptions,
): Promise<VerbTold> {
  if (pinned === undefined) {
    const prepare = () => {
      if (options.time !== undefined) throw new NotDone('--time is for a level: spillway level 2 --time 30m.', 64)
      return shown
    }
    return runVerb(loaded, options, prepare, (overload) => `${levelLines(overload).join('\n')}\n`)
  }
  const prepare = () => {
    if (!LEVEL_WORDS.includes(pinned)) throw new NotDone(`There is no level ${pinned}: ${LEVEL_WORDS.join(', ')}.`, 64)
    const body = JSON.stringify({ level: pinned, time: options.time })
    return async (admin: Admin) =>
      (await askFor(admin, { method: 'POST', path: '/api/v1/level', body, longestMs: LONGEST_MS })) as LevelReport
  }
  return runVerb(loaded, options, prepare, pinnedInWords)
}
