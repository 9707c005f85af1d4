/** Harm to senders that are known, and its cause, which is looked for among them: what strangers hear most is another matter. */
import type { ReasonName } from '../core/reasons.ts'
import type { KnownRefusedRow } from '../telemetry/traffic/report.ts'
import { inboundClause, knownClause, percent, settingOfReason, slowClause, slowOf, unpin } from './clauses.ts'
import type { Evidence } from './evidence.ts'
import { knownThrough } from './inbound.ts'
import type { Status } from './status.ts'

const KNOWN_WELL = 0.95
const KNOWN_LEAST = 20
/** Sessions of an hour that were refused for good for one reason: once or twice may be a mistake of the sender's. */
const REFUSED_LEAST = 3
/** These are about a message, and say nothing about who sends it. */
const OF_A_MESSAGE: readonly ReasonName[] = ['size', 'line_too_long', 'bare_newline']

/** What decides, as the operator knows it. A ban that came by itself refuses nobody for good. */
const governs = ({ reason, result }: KnownRefusedRow): string =>
  reason === 'banned' && result === 'for_good' ? 'a ban of the operator (spillway bans)' : settingOfReason(reason)

const look = (row: KnownRefusedRow): string =>
  `look at ${governs(row)}${row.latest === undefined ? '' : `, and spillway explain ${row.latest}`}`

const mostOf = (rows: readonly KnownRefusedRow[], of: 'lastTenMinutes' | 'lastHour'): KnownRefusedRow | undefined =>
  rows.filter((row) => row[of] > 0).toSorted((a, b) => b[of] - a[of])[0]

/** What may be the cause of harm, in words, and what to do about that. */
function causeOf(status: Status): { readonly what: string; readonly why: string; readonly do: string } {
  const { overload, traffic } = status
  const what = 'held up'
  const most = mostOf(traffic?.knownRefused ?? [], 'lastTenMinutes')
  if (most?.result === 'for_good')
    return { what: 'refused for good', why: `most by ${governs(most)} (${most.reason})`, do: look(most) }
  const slow = slowClause(status)
  if (overload !== undefined && typeof overload.mode === 'number')
    return { what, why: `the overload level is pinned at ${overload.mode}`, do: unpin(overload) }
  if (slow !== undefined) return { what, why: slow, do: `look at ${slowOf(status)[0]?.upstream}` }
  if (most === undefined) return { what, why: 'the mail servers defer them', do: 'look at the replies in the log' }
  return { what, why: `most of them are refused for ${most.reason}`, do: look(most) }
}

export const harmed: Evidence = (status) => {
  const known = knownThrough(status.traffic)
  if (known === undefined || known.of < KNOWN_LEAST || known.share >= KNOWN_WELL) return undefined
  const { what, why, do: act } = causeOf(status)
  return {
    severity: 'critical',
    text: `Known senders are ${what}: ${percent(known.share)} through; ${inboundClause(status)}; ${why}`,
    do: act,
  }
}

/** A list, a check or a ban that turns away for good whom history knows: their mail bounces, few as they may be. */
export const refusedForGood: Evidence = (status) => {
  const rows = (status.traffic?.knownRefused ?? []).filter(
    ({ reason, result }) => result === 'for_good' && !OF_A_MESSAGE.includes(reason),
  )
  const most = mostOf(rows, 'lastHour')
  if (most === undefined || most.lastHour < REFUSED_LEAST) return undefined
  return {
    severity: 'warn',
    text: `Known senders are refused for good by ${governs(most)}: ${most.lastHour} sessions in the last hour; ${knownClause(status)}`,
    do: look(most),
  }
}
