/** What a replay has found, as JSON and in words. */
import type { Loaded } from '../../config/load.ts'
import { keyOf, type SettingName, show } from '../../config/settings.ts'
import { STANDINGS, type Standing } from '../../core/client.ts'
import { LIMITS, type LimitName } from '../../core/limits.ts'
import type { LinesCounted } from './merge.ts'
import { type Replay, RULES, type RuleName } from './replay.ts'
import { MARGIN, type SourceShed } from './tally.ts'

export interface RuleReport {
  readonly rule: RuleName
  readonly setting: SettingName
  readonly value: string
  readonly tried: boolean
  readonly shed: {
    readonly sessions: number
    readonly unnamed: number
    readonly messages: number
    readonly recipients: number
  }
  /** Of what is shed, what the mail servers had accepted. `share` is of the sessions. */
  readonly accepted: { readonly sessions: number; readonly messages: number; readonly share: number }
  readonly standings: Readonly<Record<Standing, number>>
  readonly hurt: Readonly<Record<Standing, number>>
  readonly top: readonly SourceShed[]
  /** Sessions that the same rule refused in the log, and that are let in now. */
  readonly letIn: number
  /** The highest use by a sender who is known or seen and whose mail was accepted, as the setting counts. */
  readonly peak?: { readonly used: number; readonly source: string }
  readonly suggested?: string
}

export interface Report {
  readonly lines: LinesCounted
  readonly from: string
  readonly to: string
  readonly sessions: {
    readonly named: number
    readonly accepted: number
    readonly sampled: number
    readonly unnamed: number
  }
  readonly rules: readonly RuleReport[]
  readonly notes: readonly string[]
}

const OTHERS = {
  denied: 'SPILLWAY_DENY',
  ip_concurrency: 'SPILLWAY_LIMIT_IP_CONCURRENCY',
  rcpt_domain: 'SPILLWAY_RCPT_DOMAINS',
} as const

const isLimit = (rule: RuleName): rule is LimitName => rule in LIMITS
const isShared = (rule: RuleName): boolean => isLimit(rule) && LIMITS[rule].per === 'everybody'
const settingOfRule = (rule: RuleName): SettingName =>
  isLimit(rule) ? (LIMITS[rule].setting as SettingName) : OTHERS[rule]

export function reportOf(replay: Replay, lines: LinesCounted, loaded: Loaded, tried: readonly string[]): Report {
  const { seen } = replay
  return {
    lines,
    from: new Date(seen.from).toISOString(),
    to: new Date(seen.to).toISOString(),
    sessions: { named: seen.sessions, accepted: seen.accepted, sampled: seen.sampled, unnamed: seen.unnamed },
    rules: RULES.map((rule) => ruleReport(rule, replay, loaded, tried)),
    notes: notesOn(replay),
  }
}

function ruleReport(rule: RuleName, replay: Replay, loaded: Loaded, tried: readonly string[]): RuleReport {
  const { tallies, peaks, letIn } = replay
  const { sessions, unnamed, messages, recipients, acceptedSessions, acceptedMessages, standings, hurt } = tallies[rule]
  const setting = settingOfRule(rule)
  const { value: used, source, suggested } = peaks[rule]
  const rate = loaded.settings[keyOf(setting)]
  return {
    ...{ rule, setting, value: brief(show(setting, loaded.settings)), tried: tried.includes(setting) },
    shed: { sessions, unnamed, messages, recipients },
    accepted: {
      sessions: acceptedSessions,
      messages: Math.round(acceptedMessages),
      share: sessions === 0 ? 0 : acceptedSessions / sessions,
    },
    ...{ standings, hurt },
    top: tallies[rule].top().map((each) => ({ ...each, accepted: Math.round(each.accepted) })),
    letIn: letIn[rule].sessions,
    ...(source !== undefined && { peak: { used, source } }),
    ...(suggested !== undefined && { suggested: isLimit(rule) ? `${suggested}/${windowOf(rate)}` : String(suggested) }),
  }
}

const LONGEST = 60
/** A week has the days on which newsletters and bills go out. */
const SHORT_MS = 7 * 86_400_000
const brief = (value: string): string => (value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value)

/** The window that a limit has, or the minute over which it was measured. */
function windowOf(rate: unknown): string {
  const { windowMs = 60_000 } = (rate ?? {}) as { readonly windowMs?: number }
  return windowMs % 3_600_000 === 0
    ? `${windowMs / 3_600_000}h`
    : windowMs % 60_000 === 0
      ? `${windowMs / 60_000}m`
      : `${windowMs / 1000}s`
}

function notesOn({ seen }: Replay): string[] {
  const notes = [
    'The level of overload is not replayed: limits are those of level 0. Standings are those of the log.',
    'What the log shows as refused at the gate has no messages in it, so what wider limits would have let in is known only in sessions.',
    'A client that is put off comes back later; the log has the times at which it came under the limits of then.',
  ]
  if (seen.to - seen.from < SHORT_MS)
    notes.unshift('The log covers less than a week: a suggestion knows of no busier day than those in it.')
  if (seen.unnamed > 0)
    notes.unshift(
      `${seen.unnamed} sessions have no line of their own (sampling), and brought no mail. From which addresses they came is not known: limits per address and network may shed up to so many more, and their suggestions do not depend on them. SPILLWAY_LOG_SAMPLE=1 logs all.`,
    )
  return notes
}

const percent = (part: number, whole: number): string =>
  whole === 0 ? '0 %' : `${((100 * part) / whole).toFixed(1)} %`

const byStanding = (counts: Readonly<Record<Standing, number>>): string =>
  STANDINGS.filter((each) => counts[each] > 0)
    .map((each) => `${counts[each]} ${each}`)
    .join(', ')

export function inWords({ lines, from, to, sessions, rules, notes }: Report): string {
  const head = [
    `${lines.lines} lines: ${lines.sessions} of sessions, ${lines.other} others${lines.bad > 0 ? `, ${lines.bad} that could not be read` : ''}.`,
    `${from} to ${to}; ${sessions.named + sessions.unnamed} sessions, ${sessions.accepted} of them with mail that was accepted.`,
  ]
  const told = rules.filter(
    ({ rule, tried, shed, value, suggested }) =>
      tried || shed.sessions + shed.unnamed > 0 || (isLimit(rule) && value !== 'off' && suggested !== undefined),
  )
  return `${[...head, '', ...told.flatMap(ruleInWords), ...notes.map((each) => `- ${each}`)].join('\n')}\n`
}

function ruleInWords(report: RuleReport): string[] {
  const { setting, value, tried, shed, accepted, standings, hurt, top, letIn, peak, suggested } = report
  const rows = [`${setting}=${value}${tried ? ' (tried)' : ''}`]
  const parts = [
    `${shed.sessions + shed.unnamed} sessions`,
    ...(shed.messages > 0 ? [`${shed.messages} messages`] : []),
    ...(shed.recipients > 0 ? [`${shed.recipients} recipients`] : []),
  ]
  rows.push(
    `  would have shed  ${shed.sessions + shed.unnamed === 0 ? 'nothing' : `something of ${parts.join(', ')}${shed.sessions > 0 ? ` (${byStanding(standings)})` : ''}`}`,
  )
  if (shed.sessions > 0)
    rows.push(
      `  accepted then    ${accepted.sessions} of these sessions (${percent(accepted.sessions, shed.sessions)}), ${accepted.messages} messages${accepted.sessions > 0 ? ` (${byStanding(hurt)})` : ''}`,
    )
  if (accepted.sessions > 0)
    rows.push(
      `  hurt most        ${top.map(({ source, standing, accepted: mail }) => `${source} ${standing} ${mail}`).join('; ')}`,
    )
  if (letIn > 0) rows.push(`  lets in now      ${letIn} sessions that it refused in the log`)
  if (peak !== undefined && suggested !== undefined) {
    const why = isShared(report.rule)
      ? `${MARGIN} times what accepted mail alone came to (${peak.used}); a flood shares this limit, and uses it up for friends too`
      : `${MARGIN} times the highest use by a known or seen sender (${peak.used}, ${peak.source})`
    rows.push(`  suggested        ${suggested}: ${why}`)
  }
  return [...rows, '']
}
