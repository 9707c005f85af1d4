/**
 * What a process tells others of itself, as text in Redis (state/questions.ts): how it is, and its latest bans. What is read back may be
 * anybody's who writes to Redis, and is checked like what is told of an address (explain-part.ts).
 */
import { SEVERITIES } from '../admin/nagios.ts'
import { type NodeState, worse } from '../admin/nodes.ts'
import type { Ban } from '../core/bans.ts'
import { parseNetwork } from '../core/ip.ts'
import { LEVELS } from '../core/overload.ts'
import { amountIn, type Fields, fieldsOf, textIn, timeIn } from './told-fields.ts'

/** What is asked. No address and no network is written so. */
export const STATUS_ASKED = 'status'
export const BANS_ASKED = 'bans'

/** Characters. */
const LONGEST_SUMMARY = 1000
const LONGEST_VERSION = 40
/** Bans that are compared: an answer has room for so many. */
export const MOST_BANS = 100

export interface ToldBan {
  readonly network: string
  readonly by: Ban['by']
  /** In ms since the epoch. */
  readonly since: number
  readonly until: number
}
/** `latest`: at most MOST_BANS, the latest first; all there are, where `total` is no more. */
export interface BansPart {
  readonly total: number
  readonly latest: readonly ToldBan[]
}

/** @param bans those in force, in any order: there may be very many, so they are not sorted */
export function bansPartOf(bans: readonly Ban[]): BansPart {
  let latest: Ban[] = []
  let from = Number.NEGATIVE_INFINITY
  const cut = (): void => {
    latest = latest.sort((a, b) => b.since - a.since).slice(0, MOST_BANS)
    if (latest.length === MOST_BANS) from = latest.at(-1)?.since ?? from
  }
  for (const ban of bans) {
    if (ban.since <= from) continue
    latest.push(ban)
    if (latest.length >= 8 * MOST_BANS) cut()
  }
  cut()
  return bansPartWith(bans.length, latest)
}

/** @param latest at most MOST_BANS, the latest first */
export const bansPartWith = (total: number, latest: readonly Ban[]): BansPart => ({
  total,
  latest: latest.map(({ network, by, since, until }) => ({ network, by, since, until })),
})

export function statePartIn(read: Fields): NodeState | undefined {
  // None says of itself that it is unknown, which would count as worse than critical.
  const severity = SEVERITIES.find((each) => each === read.severity && each !== 'unknown')
  const [version, upSince] = [textIn(read.version, LONGEST_VERSION), timeIn(read.upSince)]
  if (severity === undefined || version === undefined || upSince === undefined) return undefined
  const [advice, drainedSince] = [textIn(read.advice), timeIn(read.drainedSince)]
  const level = LEVELS.find((each) => each === read.level)
  const minute = fieldsOf(read.lastMinute)
  const [connections, shed, messages] = [amountIn(minute.connections), amountIn(minute.shed), amountIn(minute.messages)]
  return {
    ...{ severity, summary: textIn(read.summary, LONGEST_SUMMARY) ?? '' },
    ...(advice !== undefined && { advice }),
    ...{ version, upSince, ready: read.ready === true },
    ...(drainedSince !== undefined && { drainedSince }),
    ...(level !== undefined && { level }),
    ...(connections !== undefined &&
      shed !== undefined &&
      messages !== undefined && { lastMinute: { connections, shed, messages } }),
  }
}

export function bansPartIn(read: Fields): BansPart | undefined {
  const total = amountIn(read.total)
  if (total === undefined || !Array.isArray(read.latest)) return undefined
  return { total, latest: read.latest.slice(0, MOST_BANS).flatMap((each) => banIn(fieldsOf(each)) ?? []) }
}

function banIn({ network, by, since, until }: Fields): ToldBan | undefined {
  const [from, to] = [amountIn(since), amountIn(until)]
  if (typeof network !== 'string' || network.length > 64 || (by !== 'automatic' && by !== 'operator')) return undefined
  if (from === undefined || to === undefined) return undefined
  try {
    return { network: parseNetwork(network).text, by, since: from, until: to }
  } catch {
    return undefined
  }
}

/** Those of several processes of one node: it is as bad as the worst of them, and has what all have together. */
export function statesTogether(all: readonly [NodeState, ...NodeState[]]): NodeState {
  const [first, ...others] = all
  return others.reduce((one, other) => {
    const worst = worse(one.severity, other.severity) === one.severity ? one : other
    const drainedSince = one.drainedSince ?? other.drainedSince
    const level = one.level === undefined || (other.level ?? 0) > one.level ? other.level : one.level
    const [a, b] = [one.lastMinute, other.lastMinute]
    const lastMinute =
      a === undefined || b === undefined
        ? (a ?? b)
        : {
            connections: a.connections + b.connections,
            shed: a.shed + b.shed,
            messages: a.messages + b.messages,
          }
    return {
      ...worst,
      upSince: [one.upSince, other.upSince].sort()[0] as string,
      ready: one.ready || other.ready,
      ...(drainedSince !== undefined && { drainedSince }),
      ...(level !== undefined && { level }),
      ...(lastMinute !== undefined && { lastMinute }),
    }
  }, first)
}

/** Of several processes of one node the one that has heard of fewest. */
export const bansTogether = (all: readonly [BansPart, ...BansPart[]]): BansPart =>
  all.reduce((fewest, each) => (each.total < fewest.total ? each : fewest))
