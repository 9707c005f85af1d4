/**
 * `spillway simulate`: replays the sessions of logs against other limits and lists, and says what would have been shed, how much of it
 * the mail servers had accepted, whom it would have hurt, and which value would have hurt nobody who is known.
 */
import { stat } from 'node:fs/promises'
import type { Loaded } from '../../config/load.ts'
import { describe, SettingsError } from '../../config/mistakes.ts'
import { messageOf } from '../../core/errors.ts'
import { visible } from '../../telemetry/log.ts'
import { type LinesCounted, merged } from './merge.ts'
import { Replay } from './replay.ts'
import { inWords, reportOf } from './report.ts'
import { askedIn, loadedWith, type RuleSources, rulesOf } from './rules.ts'

export interface Simulated {
  readonly output: string
  readonly code: 0 | 1 | 64 | 78
}

export interface SimulateOptions {
  readonly json: boolean
  readonly log?: string | undefined
  readonly envFile?: string | undefined
}

/** Each is open all the time. */
const MOST_FILES = 256
/** Of the lines that are not our log's. */
const FOREIGN_SHARE = 0.5

/** Never rejects. @param positionals settings to try, and further logs */
export async function simulate(
  sources: Omit<RuleSources, 'envFile'>,
  positionals: readonly string[],
  { json, log, envFile }: SimulateOptions,
): Promise<Simulated> {
  const told = (words: string, value: unknown, code: Simulated['code']): Simulated => {
    return { output: visible(json ? `${JSON.stringify(value, undefined, 2)}\n` : words), code }
  }
  const failed = (words: string, code: Simulated['code']): Simulated => told(`${words}\n`, { error: words }, code)
  if (log === undefined) return failed('simulate needs --log: a log of Spillway, or - for stdin.', 64)
  const asked = askedIn(positionals)
  if ('error' in asked) return failed(asked.error, 64)
  const files = [...new Set([log, ...asked.files])]
  if (files.length > MOST_FILES)
    return failed(`At most ${MOST_FILES} logs are read at once: zcat them into --log -.`, 64)
  let loaded: Loaded
  try {
    loaded = loadedWith({ env: sources.env, hostname: sources.hostname, envFile }, asked.tried)
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    return told(`${describe(error.mistakes)}\nNothing was replayed.\n`, { mistakes: error.mistakes }, 78)
  }
  const counted: LinesCounted = { lines: 0, sessions: 0, other: 0, bad: 0 }
  const replay = new Replay(rulesOf(loaded))
  try {
    for (const file of files) if (file !== '-') await stat(file)
    for await (const seen of merged(files, counted)) replay.add(seen)
  } catch (error) {
    return failed(`The log cannot be read: ${messageOf(error)}.`, 1)
  }
  replay.finish()
  if (counted.sessions === 0)
    return failed(
      `None of ${counted.lines} lines is of a session of Spillway, in JSON (SPILLWAY_LOG_FORMAT=json). Nothing was replayed.`,
      1,
    )
  if (counted.bad > FOREIGN_SHARE * counted.lines)
    return failed(`${counted.bad} of ${counted.lines} lines are not of a log of Spillway. Nothing was told.`, 1)
  const report = reportOf(replay, counted, loaded, Object.keys(asked.tried))
  return told(inWords(report), report, 0)
}
