/**
 * `spillway status`: how the node is that runs with these settings, and with `--all` those that share its Redis. The first line and the exit code are those of a plugin of Nagios
 * (0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN), with performance data behind a bar; the rest is for people.
 */
import { limitsThatDiffer, settingsThatDiffer } from '../../admin/differences.ts'
import { SEVERITIES, type Verdict, verdictOf } from '../../admin/nagios.ts'
import type { NodesReport } from '../../admin/nodes.ts'
import type { ConditionReport, Status } from '../../admin/status.ts'
import type { Loaded } from '../../config/load.ts'
import { describe, SettingsError } from '../../config/mistakes.ts'
import { messageOf } from '../../core/errors.ts'
import { visible } from '../../core/visible.ts'
import { askFor, LONGEST_MS, NotDone, timeOf, Unanswered, type VerbOptions } from '../admin-verb.ts'
import { ofAllNodes } from '../all-nodes.ts'
import type { Admin } from '../ask-node.ts'
import { levelLines } from '../level.ts'
import { type Figures, figuresIn } from './figures.ts'
import { nodeLines, nodesPerformance, worstOf } from './nodes.ts'

export interface StatusTold {
  readonly output: string
  /** The place of the severity in SEVERITIES. */
  readonly code: number
}

interface Seen {
  readonly status: Status
  /** Undefined: /metrics did not answer in time. */
  readonly figures: Figures | undefined
  /** Undefined: only the one was asked, or it cannot ask others. */
  readonly nodes?: NodesReport | undefined
}

export interface StatusOptions extends VerbOptions {
  /** All nodes that share its Redis, too. */
  readonly all?: boolean
}

async function look(admin: Admin, isOfAll: boolean): Promise<Seen> {
  const get = (path: string, as: 'json' | 'text') => askFor(admin, { method: 'GET', path, longestMs: LONGEST_MS }, as)
  const nodes = isOfAll ? ofAllNodes<NodesReport>(admin, '/api/v1/nodes') : undefined
  const figures = get('/metrics', 'text').then(
    (page) => figuresIn(page as string),
    () => undefined,
  )
  const status = (await get('/api/v1/status', 'json')) as Status
  return { status, figures: await figures, nodes: await nodes }
}

/** `'label'=value;warn;crit;min;max`, as the guidelines for plugins have it. */
function performance({ status, figures, nodes }: Seen): string {
  const { overload, upstreams, connectionsOpen } = status
  const limit = upstreams.reduce((sum, each) => sum + each.limit, 0)
  const inUse = upstreams.reduce((sum, { connections }) => sum + connections, 0)
  return [
    ...(overload === undefined ? [] : [`level=${overload.level};2;;0;4`, `pressure=${overload.pressure};1;;0`]),
    `upstreams_up=${upstreams.filter(({ up }) => up).length};;1:;0;${upstreams.length}`,
    `upstream_connections=${inUse};;;0;${limit}`,
    `connections=${connectionsOpen};;;0`,
    ...(figures === undefined ? [] : [`bans=${figures.bans};;;0`]),
    ...Object.entries(figures?.sessions ?? {}).map(([outcome, count]) => `sessions_${outcome}=${count}c`),
    ...(nodes === undefined ? [] : [nodesPerformance(nodes)]),
  ].join(' ')
}

const conditionInWords = ({ state, since, error }: ConditionReport): string =>
  `${state} since ${timeOf(since)}${error === undefined ? '' : `: ${error}`}`

const redisLine = (redis: ConditionReport & { readonly nodes: number }, areAsked: boolean): string =>
  `Redis: ${conditionInWords(redis)}; nodes: ${redis.nodes}${redis.nodes > 1 && !areAsked ? ' (spillway status --all asks each)' : ''}`

const counted = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')

function details({ status, figures, nodes }: Seen): string[] {
  const { version, node, uptimeSeconds, settings, upstreams, redis, tls, workers, overload, connectionsOpen } = status
  const restart = settings.needsRestart.length === 0 ? '' : `; needs a restart: ${settings.needsRestart.join(', ')}`
  return [
    `node ${node}, Spillway ${version}, up for ${uptimeSeconds} s; settings ${settings.hash}${restart}`,
    ...(workers ?? []).map(
      ({ worker, up, restarts, connectionsOpen: open = 0 }) =>
        `worker ${worker}: ${up ? 'up' : 'does not answer'}, ${open} connections, ${restarts} restarts`,
    ),
    ...upstreams.map(
      ({ upstream, address, connections, limit, ...condition }) =>
        `upstream ${upstream}${upstream === address ? '' : ` (${address})`}: ${conditionInWords(condition)}; ${connections} of ${limit} connections`,
    ),
    ...(redis === undefined ? ['Redis is not set'] : [redisLine(redis, nodes !== undefined)]),
    ...limitsThatDiffer(status).map((each) => `limits differ: ${each}`),
    ...settingsThatDiffer(status).map((each) => `other settings than this node: ${each}`),
    ...(overload === undefined ? [] : levelLines(overload)),
    `connections: ${connectionsOpen} open`,
    ...(figures === undefined
      ? ['/metrics has not answered in time']
      : [
          `sessions since the start: ${counted(figures.sessions)}`,
          `bans: ${figures.bans}`,
          ...(Object.keys(figures.observed).length === 0
            ? []
            : [`only observed, and not refused: ${counted(figures.observed)}`]),
        ]),
    ...(tls === undefined
      ? ['STARTTLS is not offered: there is no certificate']
      : tls.certificates.map(
          ({ name, expires, warnings }) =>
            `certificate ${name}: expires ${timeOf(expires)}${warnings.length === 0 ? '' : `; ${warnings.join('; ')}`}`,
        )),
    ...(tls?.error === undefined ? [] : [`certificate files: ${tls.error}`]),
    ...(nodes === undefined ? [] : nodeLines(nodes)),
  ]
}

/** A bar begins performance data wherever it stands. */
const withoutBars = (text: string): string => text.replaceAll('|', '/')

const lineOf = ({ severity, summary }: Verdict): string => withoutBars(`${severity.toUpperCase()}: ${summary}`)

/** Never rejects. @param now in ms since the epoch */
export async function status(
  loaded: Loaded | SettingsError,
  { json, all = false }: StatusOptions,
  now: number,
): Promise<StatusTold> {
  const told = (verdict: Verdict, words: string, more: object): StatusTold => ({
    output: visible(json ? `${JSON.stringify({ verdict, ...more }, undefined, 2)}\n` : words),
    code: SEVERITIES.indexOf(verdict.severity),
  })
  if (loaded instanceof SettingsError) {
    const verdict: Verdict = { severity: 'unknown', summary: 'there are mistakes in the settings' }
    return told(verdict, `${lineOf(verdict)}\n${withoutBars(describe(loaded.mistakes))}\n`, {
      mistakes: loaded.mistakes,
    })
  }
  try {
    const seen = await look(loaded.settings, all)
    const verdict = worstOf(verdictOf(seen.status, now), seen.nodes)
    const rest = withoutBars(details(seen).join('\n'))
    const advice = verdict.advice === undefined ? '' : `what to do: ${withoutBars(verdict.advice)}\n`
    return told(verdict, `${lineOf(verdict)} | ${performance(seen)}\n${advice}${rest}\n`, { ...seen, ...seen.nodes })
  } catch (error) {
    // A node that is not there is what the operator wants to be woken up for; a wrong token is not.
    const severity = error instanceof Unanswered ? 'critical' : 'unknown'
    const summary = error instanceof NotDone ? error.message : messageOf(error)
    return told({ severity, summary }, `${lineOf({ severity, summary })}\n`, { error: summary })
  }
}
