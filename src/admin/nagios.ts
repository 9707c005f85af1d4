/**
 * How a node is, in one line and as a plugin of Nagios says it: for `spillway status`, and for other nodes (nodes.ts). Pure: what /api/v1/status answers -> severity and summary. What is
 * critical here wakes somebody up: mail does not get through, or is about to bounce. The marks are those of the alerts
 * (deploy/prometheus/alerts.yml).
 */
import { certificateTrouble } from './certificates.ts'
import type { Verdict as Told } from './evidence.ts'
import type { Status } from './status.ts'

/** By their exit codes (Nagios Plugin Development Guidelines). */
export const SEVERITIES = ['ok', 'warning', 'critical', 'unknown'] as const
export type Severity = (typeof SEVERITIES)[number]

export interface Verdict {
  readonly severity: Severity
  /** One line, without the severity. */
  readonly summary: string
  /** What to do, where the node says so. */
  readonly advice?: string
}

const SEVERITY_OF: Readonly<Record<Told['severity'], Severity>> = { ok: 'ok', warn: 'warning', critical: 'critical' }

/** Levels from this one on put off nearly all mail of new senders. */
const MUCH = 3

type Problem = readonly ['warning' | 'critical', string]

function ofNode({ ready, drainedSince, unknownGuard, workers = [] }: Status): Problem[] {
  const away = workers.filter(({ up }) => !up)
  const found: Problem[] = []
  if (workers.length > 0 && away.length === workers.length) found.push(['critical', 'no worker answers'])
  else if (away.length > 0) found.push(['warning', `${away.length} of ${workers.length} workers do not answer`])
  if (drainedSince !== undefined) found.push(['warning', 'drained by the operator'])
  else if (!ready) found.push(['critical', 'not listening, or stopping'])
  if (unknownGuard) found.push(['critical', 'recipients that were accepted lately are rejected as unknown'])
  return found
}

function ofUpstreams({ upstreams }: Status): Problem[] {
  if (!upstreams.some(({ up }) => up)) return [['critical', 'no upstream is up']]
  const troubled = upstreams.filter(({ state }) => state !== 'up' && state !== 'draining' && state !== 'unknown')
  return troubled.map(({ upstream, state }) => ['warning', `upstream ${upstream} is ${state}`] as const)
}

function ofCertificates(status: Status, now: number): Problem[] {
  const trouble = certificateTrouble(status, now)
  return trouble === undefined ? [] : [[trouble.severity === 'critical' ? 'critical' : 'warning', trouble.text]]
}

function ofLoad({ overload, redis }: Status): Problem[] {
  const found: Problem[] = []
  if (overload !== undefined && overload.level >= MUCH)
    found.push([
      'warning',
      `nearly all mail of new senders is put off (${overload.mode === 'auto' ? overload.signal : 'pinned'})`,
    ])
  if (redis !== undefined && !redis.up) found.push(['warning', 'Redis is away'])
  return found
}

/**
 * What the node says of itself comes first, unless something here is worse: it speaks of its traffic, and need not know how many days a
 * certificate has. @param now in ms since the epoch
 */
export function verdictOf(status: Status & { readonly verdict?: Told }, now: number): Verdict {
  const own = ofConditions(status, now)
  if (status.verdict === undefined) return own
  const { severity: told, text, do: advice } = status.verdict
  const severity = SEVERITY_OF[told]
  if (SEVERITIES.indexOf(own.severity) > SEVERITIES.indexOf(severity))
    return { severity: own.severity, summary: `${own.summary}; ${text}` }
  return { severity, summary: text, advice }
}

function ofConditions(status: Status, now: number): Verdict {
  const problems = [...ofNode(status), ...ofUpstreams(status), ...ofLoad(status), ...ofCertificates(status, now)]
  const { upstreams, overload, connectionsOpen } = status
  const usual = [
    overload === undefined ? 'level unknown' : `level ${overload.level}`,
    `${upstreams.filter(({ up }) => up).length} of ${upstreams.length} upstreams up`,
    `${connectionsOpen} connections`,
  ].join(', ')
  const worst = (['critical', 'warning'] as const).find((each) => problems.some(([severity]) => severity === each))
  const inOrder = [...problems].sort(([a], [b]) => Number(b === 'critical') - Number(a === 'critical'))
  return { severity: worst ?? 'ok', summary: [...inOrder.map(([, words]) => words), usual].join('; ') }
}
