/** `spillway observe`: what checks in observe mode would have refused, how much of it was honest, and which limit would fit. */
import type { ObservedCheck, ObserveReport } from '../admin/observe.ts'
import type { Loaded } from '../config/load.ts'
import type { SettingsError } from '../config/mistakes.ts'
import { CHECK_NAMES } from '../core/reasons.ts'
import { askFor, LONGEST_MS, NotDone, runVerb, timeOf, type VerbOptions, type VerbTold } from './admin-verb.ts'

/** Senders that are named in words; --json has all. */
const NAMED = 20

const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`

/** A share is not 0 % or 100 % unless it is so. */
function percent(share: number): string {
  const rounded = Math.round(share * 100)
  if (rounded === 0 && share > 0) return 'less than 1 %'
  return rounded === 100 && share < 1 ? 'more than 99 %' : `${rounded} %`
}

/** In quotes and escaped: the client chose it. */
const senderLine = ({ source, standing, helo, sessions, last }: ObservedCheck['senders'][number]): string =>
  `    ${source} (${standing}${helo === undefined ? '' : `, HELO ${JSON.stringify(helo)}`}): ${counted(sessions, 'session')}, the last one ${timeOf(last)}`

function senderLines({ senders, moreSenders, heard }: ObservedCheck): string[] {
  const [first, ...others] = senders
  if (first === undefined)
    return heard.accepted > 0 ? [] : ['  It would have put off no sender whose mail was accepted.']
  const which =
    others.length === 0 ? 'this honest sender' : `these ${moreSenders ? 'and other' : senders.length} honest senders`
  const left = senders.length - NAMED
  return [
    `  It would have put off ${which}, as far as the mail servers tell:`,
    ...senders.slice(0, NAMED).map(senderLine),
    ...(left > 0 ? [`    and ${left} more, which --json has`] : []),
  ]
}

const peakLine = (
  setting: string,
  { used, max, source, standing, suggested }: ObservedCheck['peaks'][number],
): string =>
  `  The most that a ${standing} sender used is ${used}, where it may use ${max}: ${source}.${
    suggested === undefined ? '' : ` ${setting}=${suggested} would have let it in, with a quarter to spare.`
  }`

function valueLines({ setting, peaks, heard, sessions }: ObservedCheck): string[] {
  if (setting === undefined || sessions === 0) return []
  const { name, now } = setting
  if (peaks.length > 0)
    return [
      ...peaks.map((peak) => peakLine(name, peak)),
      ...(peaks.some(({ standing }) => standing === 'seen')
        ? ['  One accepted message makes a sender seen: look who it is before you make room for it.']
        : []),
      `  It is ${name}=${now} now.`,
    ]
  if (now === 'off') return []
  return heard.accepted > 0
    ? [`  None of them is known or seen, so nothing speaks for a wider value than ${name}=${now}.`]
    : [`  ${name}=${now} fits: no sender whose mail was accepted went beyond it.`]
}

function linesOf(each: ObservedCheck, since: string): string[] {
  const { check, observing, sessions, heard, falsePositives } = each
  const mode = observing ? '' : ', which is not in observe mode now'
  if (sessions === 0) return [`${check}${mode}: it would have refused nobody since ${timeOf(since)}.`]
  const share =
    falsePositives === undefined
      ? '  The mail servers have judged none of these sessions, so nothing is known of false positives.'
      : `  False positives: ${percent(falsePositives)} of the sessions that the mail servers judged.`
  return [
    `${check}${mode}: it would have refused ${counted(sessions, 'session')} since ${timeOf(since)}.`,
    `  The mail servers accepted mail of ${heard.accepted}, refused ${heard.refused}, and said nothing of ${heard.none}.`,
    share,
    ...senderLines(each),
    ...valueLines(each),
  ]
}

const HOW =
  'Name it in SPILLWAY_OBSERVE, or set its own setting to observe where it has one (docs/observe.md), and reload.'

function inWords({ since, checks }: ObserveReport, check: string | undefined): string {
  const lines = checks.map((each) => linesOf(each, since).join('\n'))
  if (check !== undefined && checks.every(({ observing }) => !observing))
    return `${check} is not in observe mode. ${HOW}\n${lines.map((each) => `${each}\n`).join('')}`
  if (lines.length === 0)
    return 'No check is in observe mode. Name some in SPILLWAY_OBSERVE, such as SPILLWAY_OBSERVE=ip-connections, or all.\n'
  return `${lines.join('\n\n')}\n`
}

/** Never rejects. @param check only this one; undefined: all */
export const observe = (
  loaded: Loaded | SettingsError,
  [check]: readonly string[],
  options: VerbOptions,
): Promise<VerbTold> =>
  runVerb(
    loaded,
    options,
    () => {
      if (check !== undefined && !CHECK_NAMES.some((name) => name === check))
        throw new NotDone(`There is no check ${check}: ${CHECK_NAMES.join(', ')}.`, 64)
      return async (admin) => {
        const question = { method: 'GET', path: '/api/v1/observe', longestMs: LONGEST_MS } as const
        const { since, checks } = (await askFor(admin, question)) as ObserveReport
        return { since, checks: check === undefined ? checks : checks.filter((each) => each.check === check) }
      }
    },
    (report) => inWords(report, check),
  )
