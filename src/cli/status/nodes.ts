/** What `spillway status` says of all nodes that share a Redis (admin/nodes.ts). Pure: the verdict of all, and a line for each. */
import type { NodeSilent } from '../../admin/explain.ts'
import { SEVERITIES, type Severity, type Verdict } from '../../admin/nagios.ts'
import type { NodeState, NodesReport, OfNode } from '../../admin/nodes.ts'
import { timeOf } from '../admin-verb.ts'

type Row = NodesReport['nodes'][number]

/** Others that are named behind the verdict. */
const MOST_NAMED = 4
/** What somebody does not say may be well: mail goes on as long as that node takes it. */
const SILENT: Severity = 'warning'

const severityOf = (row: Row): Severity => (row.answered ? row.severity : SILENT)
const rankOf = (severity: Severity): number => SEVERITIES.indexOf(severity)

const others = ({ nodes }: NodesReport): readonly Row[] => nodes.filter(({ here }) => !here)

/** As bad as the worst node is: its sentence first, if it is not the one that was asked. @param own that of the node that was asked */
export function worstOf(own: Verdict, report: NodesReport | undefined): Verdict {
  const unwell = report === undefined ? [] : others(report).filter((row) => severityOf(row) !== 'ok')
  const [worst, ...rest] = [...unwell].sort((a, b) => rankOf(severityOf(b)) - rankOf(severityOf(a)))
  if (worst === undefined) return own
  if (rankOf(severityOf(worst)) <= rankOf(own.severity)) return { ...own, summary: `${own.summary}${alsoOf(unwell)}` }
  const here = report?.nodes.find((row) => row.here)?.node
  const advice = worst.answered ? worst.advice : undefined
  return {
    severity: severityOf(worst),
    summary: `${worst.node}: ${worst.answered ? worst.summary : worst.note}${alsoOf(rest)}; ${here}: ${own.summary}`,
    ...(advice !== undefined && { advice: `at ${worst.node}, ${advice}` }),
  }
}

function alsoOf(unwell: readonly Row[]): string {
  if (unwell.length === 0) return ''
  const named = unwell.slice(0, MOST_NAMED).map((row) => `${row.node} (${severityOf(row).toUpperCase()})`)
  const more = unwell.length > MOST_NAMED ? ` and ${unwell.length - MOST_NAMED} more` : ''
  return `; also ${named.join(', ')}${more}`
}

/** Behind those of the node that was asked. */
export const nodesPerformance = ({ nodes }: NodesReport): string =>
  `nodes=${nodes.length};;;0 nodes_silent=${nodes.filter(({ answered }) => !answered).length};;;0`

/** A line for each node, where there are others. */
export const nodeLines = (report: NodesReport): string[] => [
  ...(others(report).length === 0 ? [] : report.nodes.map((row) => (row.answered ? stateLine(row) : silentLine(row)))),
  report.nodesAsked.note,
]

const silentLine = ({ node, note }: NodeSilent): string => `node ${node}: ${note}`

function stateLine({ node, here, severity, summary, version, upSince, ready, ...state }: NodeState & OfNode): string {
  const { drainedSince, level, lastMinute } = state
  const taking = ready ? 'not drained' : 'takes no clients'
  return [
    `node ${node}${here ? ' (asked)' : ''}: ${severity.toUpperCase()}`,
    level === undefined ? 'level unknown' : `level ${level}`,
    drainedSince === undefined ? taking : `drained since ${timeOf(drainedSince)}`,
    `version ${version}`,
    `up since ${timeOf(upSince)}`,
    ...(lastMinute === undefined
      ? []
      : [
          `last minute: ${lastMinute.connections} in, ${lastMinute.shed} shed, ${lastMinute.messages} messages relayed`,
        ]),
    ...(here || severity === 'ok' ? [] : [summary]),
  ].join('; ')
}
