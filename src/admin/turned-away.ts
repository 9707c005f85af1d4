/**
 * Connections that are turned away although there is neither a flood nor pressure. The setting that does it is named: bots and a wrong
 * setting look alike in figures, so only the operator can tell which it is.
 */
import { knownClause, mostFrequent, NO_SETTING, settingOfReason } from './clauses.ts'
import type { Evidence } from './evidence.ts'
import type { Status } from './status.ts'

/** Fewer connections in a minute may be one bot, or somebody who tries it out. */
const FEW = 20
/** Nobody gets through: this share is turned away, of FEW or more. */
const NOBODY_SHARE = 0.95
/** A limit turns away so many of the connections, and some get through. */
const MOST_SHARE = 0.5

interface LastMinute {
  readonly came: number
  /** Sessions that heard 4yz. */
  readonly shed: number
  /** Accepted. */
  readonly messages: number
}

const lastMinute = ({ traffic }: Status): LastMinute => {
  const { connections = [], shed = [], messages = [] } = traffic?.minutes ?? {}
  return { came: connections.at(-1) ?? 0, shed: shed.at(-1) ?? 0, messages: messages.at(-1) ?? 0 }
}

/** A limit that is far too low, or a balancer that is not listed. */
export const nobody: Evidence = (status) => {
  const { came, shed, messages } = lastMinute(status)
  const reason = mostFrequent(status.traffic)
  if (came < FEW || shed < NOBODY_SHARE * came || messages > 0 || reason === undefined) return undefined
  const setting = settingOfReason(reason.reason)
  return {
    severity: 'warn',
    text: `Nobody gets through: ${shed} of ${came} connections of the last minute were turned away, most for ${reason.reason} (${setting})`,
    do: `spillway doctor, and a look at ${setting}`,
  }
}

/** Lists, load and mail servers that refuse most are told elsewhere, or mean nothing: here it is about limits. */
export const mostLimited: Evidence = (status) => {
  const { came, shed } = lastMinute(status)
  const reason = mostFrequent(status.traffic)
  if (came < FEW || shed < MOST_SHARE * came || reason === undefined) return undefined
  const setting = settingOfReason(reason.reason)
  if (!setting.startsWith('SPILLWAY_LIMIT_')) return undefined
  return {
    severity: 'ok',
    text: `No flood, and ${shed} of ${came} connections of the last minute were turned away, most for ${reason.reason} (${setting}); ${knownClause(status)}`,
    do: `spillway top says who they are: if they are honest senders, raise ${setting}`,
  }
}

/** What to do where a balancer and the setting do not fit: `spillway explain` knows only clients, and the log has the balancer. */
const BALANCER: Readonly<Record<string, string>> = {
  proxy_unlisted: 'list the network of your balancer in SPILLWAY_PROXY_PROTOCOL_FROM: the log has the address',
  proxy_header:
    'let your balancer send the PROXY header, or take its network off SPILLWAY_PROXY_PROTOCOL_FROM: the log has the address',
}

const count = (many: number, one: string): string => `${many} ${one}${many === 1 ? '' : 's'}`

/**
 * A few connections, a refusal for each, and no mail: bots on a quiet night, or an operator who tries it out. Refusals count, and not
 * sessions that were shed, so that those for good (a deny list) are among them.
 */
export const fewRefused: Evidence = (status) => {
  const { came, messages } = lastMinute(status)
  const reason = mostFrequent(status.traffic)
  if (came === 0 || came >= FEW || messages > 0 || reason === undefined) return undefined
  const refusals = (status.traffic?.reasons ?? [])
    .filter(({ mode }) => mode === 'enforce')
    .reduce((sum, row) => sum + row.lastMinute, 0)
  if (refusals < came) return undefined
  const setting = settingOfReason(reason.reason)
  const most = reason.lastMinute < refusals ? 'most for' : 'for'
  const by = setting === NO_SETTING ? '' : ` (${setting})`
  return {
    severity: 'ok',
    text: `No mail came through in the last minute: ${count(came, 'connection')}, ${count(refusals, 'refusal')}, ${most} ${reason.reason}${by}; ${knownClause(status)}`,
    do:
      BALANCER[reason.reason] ??
      `nothing, if these are bots; if it is you or an honest sender, spillway explain ADDRESS says why${setting === NO_SETTING ? '' : `, and ${setting} decides`}`,
  }
}
