/**
 * What a node tells another one of an address, as text in Redis (state/questions.ts). What is read back may be anybody's who writes to
 * Redis: it is checked field by field, clipped and escaped, and whatever is no answer is called none.
 */
import { isIP } from 'node:net'
import type { BanReport } from '../admin/bans.ts'
import type {
  AddressExplained,
  LimitReport,
  ListsReport,
  NetworkNode,
  NodeExplained,
  PastReport,
  StageReport,
} from '../admin/explain.ts'
import type { NodeState } from '../admin/nodes.ts'
import { LONGEST_REASON } from '../core/bans.ts'
import { STANDINGS } from '../core/client.ts'
import { canonical, type Network, parseNetwork } from '../core/ip.ts'
import { LIMIT_NAMES, LIMITS } from '../core/limits.ts'
import { REASON_NAMES } from '../core/reasons.ts'
import { LONGEST_ANSWER } from '../state/questions.ts'
import { becauseOf, isDecidedBy } from './explain-words.ts'
import { BANS_ASKED, type BansPart, bansPartIn, STATUS_ASKED, statePartIn } from './nodes-part.ts'
import { amountIn, type Fields, fieldsOf, textIn, timeIn } from './told-fields.ts'

/** What one process tells. */
export type Part = Omit<NodeExplained, 'node' | 'here' | 'answered'>
/** The same of a network. */
export type NetworkPart = Omit<NetworkNode, 'node' | 'here' | 'answered'>

type AnyPart = Part | NetworkPart | NodeState | BansPart

/** `crew`: the same for all processes of a node, and no other's: twelve hexadecimal digits. */
export interface Told {
  readonly crew: string
  readonly part: AnyPart
}

/** Characters. */
const LONGEST_VERDICT = 1000
const MOST_ZONES = 16
const MOST_LEVEL = 4

export const partOf = (all: Part & Pick<AddressExplained, 'standing'>): Part => {
  const { verdict, standing, lists, allowed, ban, points, now, limits, dns, greetingTest } = all
  const { is, by, because, own } = standing
  return {
    ...{ verdict, standing: { is, by, because, own }, lists },
    ...(allowed !== undefined && { allowed }),
    ...(ban !== undefined && { ban }),
    ...{ points, now, limits, dns, greetingTest },
  }
}

export const networkPartOf = ({ overloadLevel, lists, allowed, ban, net }: NetworkPart): NetworkPart => ({
  ...{ overloadLevel, lists },
  ...(allowed !== undefined && { allowed }),
  ...(ban !== undefined && { ban }),
  net,
})

/** Whether another process asks about an address, as canonical() gives it. */
export const isAddress = (asked: string): boolean => isIP(asked) !== 0 && canonical(asked) === asked

/** What another process asks about. @returns undefined if it is no network, as it gives its text itself */
export function networkIn(asked: string): Network | undefined {
  try {
    const network = parseNetwork(asked)
    return network.text === asked ? network : undefined
  } catch {
    return undefined
  }
}

/** @param asked the address, the network or the word; so an answer to another question is none */
export function textOfPart(asked: string, { crew, part }: Told): string {
  const text = JSON.stringify({ asked, crew, ...part })
  if (Buffer.byteLength(text) <= LONGEST_ANSWER) return text
  // The sentence is made of what follows it. How a node is, and its latest bans, are never so long.
  return JSON.stringify({ asked, crew, ...part, verdict: '', dns: {} })
}

/** @param asked that was asked about @returns undefined if it is no answer to that */
export function partIn(asked: string, text: string | undefined): Told | undefined {
  let read: Fields
  try {
    read = fieldsOf(JSON.parse(text ?? ''))
  } catch {
    return undefined
  }
  const { crew } = read
  if (read.asked !== asked || typeof crew !== 'string' || !/^[0-9a-f]{12}$/.test(crew)) return undefined
  const part = kindOf(asked)(read)
  return part && { crew, part }
}

function kindOf(asked: string): (read: Fields) => AnyPart | undefined {
  if (asked === STATUS_ASKED) return statePartIn
  if (asked === BANS_ASKED) return bansPartIn
  return isAddress(asked) ? addressPartIn : networkPartIn
}

function networkPartIn(read: Fields): NetworkPart | undefined {
  const overloadLevel = amountIn(read.overloadLevel, MOST_LEVEL)
  if (overloadLevel === undefined) return undefined
  const [allowed, ban] = [banIn(read.allowed), banIn(read.ban)]
  return {
    ...{ overloadLevel, lists: listsIn(read.lists) },
    ...(allowed !== undefined && { allowed }),
    ...(ban !== undefined && { ban }),
    net: pastIn(read.net),
  }
}

function addressPartIn(read: Fields): Part | undefined {
  const standing = standingIn(read.standing)
  const now = nowIn(read.now)
  const points = pointsIn(read.points)
  if (standing === undefined || now === undefined || points === undefined) return undefined
  const [allowed, ban] = [banIn(read.allowed), banIn(read.ban)]
  return {
    ...{ verdict: textIn(read.verdict, LONGEST_VERDICT) ?? '', standing, lists: listsIn(read.lists) },
    ...(allowed !== undefined && { allowed }),
    ...(ban !== undefined && { ban }),
    ...{
      points,
      now,
      limits: limitsIn(read.limits),
      dns: dnsIn(read.dns),
      greetingTest: greetingIn(read.greetingTest),
    },
  }
}

function standingIn(value: unknown): Part['standing'] | undefined {
  const { is, by, own } = fieldsOf(value)
  const standing = STANDINGS.find((each) => each === is)
  if (standing === undefined || !isDecidedBy(by)) return undefined
  return { is: standing, by, because: becauseOf(by), own: pastIn(own) }
}

function pastIn(value: unknown): PastReport {
  const { good, recentGood, recentBad, ...times } = fieldsOf(value)
  const [firstGood, lastGood, lastBad] = [times.firstGood, times.lastGood, times.lastBad].map(timeIn)
  return {
    ...{ good: amountIn(good) ?? 0, recentGood: amountIn(recentGood) ?? 0, recentBad: amountIn(recentBad) ?? 0 },
    ...(firstGood !== undefined && { firstGood }),
    ...(lastGood !== undefined && { lastGood }),
    ...(lastBad !== undefined && { lastBad }),
  }
}

function listsIn(value: unknown): ListsReport {
  const { allow, deny, relays, balancer } = fieldsOf(value)
  return { allow: allow === true, deny: deny === true, relays: relays === true, balancer: balancer === true }
}

function banIn(value: unknown): BanReport | undefined {
  const { network, by, reason, since, until, before } = fieldsOf(value)
  const [from, to, said] = [timeIn(since), timeIn(until), textIn(reason, LONGEST_REASON)]
  if (typeof network !== 'string' || network.length > 64 || (by !== 'automatic' && by !== 'operator')) return undefined
  if (from === undefined || to === undefined || said === undefined) return undefined
  try {
    return {
      network: parseNetwork(network).text,
      by,
      reason: said,
      since: from,
      until: to,
      before: amountIn(before) ?? 0,
    }
  } catch {
    return undefined
  }
}

function pointsIn(value: unknown): Part['points'] | undefined {
  const fields = fieldsOf(value)
  const [now, banAt] = [amountIn(fields.now), amountIn(fields.banAt)]
  return now === undefined ? undefined : { now, ...(banAt !== undefined && { banAt }) }
}

const isReason = (value: unknown): value is NonNullable<StageReport['reason']> =>
  REASON_NAMES.some((each) => each === value)

function stageIn(value: unknown): StageReport {
  const { reason, reply, observed } = fieldsOf(value)
  const seen = Array.isArray(observed) ? observed.slice(0, REASON_NAMES.length).filter(isReason) : []
  return { ...(isReason(reason) && { reason, reply: textIn(reply) ?? '' }), observed: [...new Set(seen)] }
}

function nowIn(value: unknown): Part['now'] | undefined {
  const { overloadLevel, connect, rcpt } = fieldsOf(value)
  const level = amountIn(overloadLevel, MOST_LEVEL)
  const share = amountIn(fieldsOf(rcpt).share, 1)
  if (level === undefined || share === undefined) return undefined
  return { overloadLevel: level, connect: stageIn(connect), rcpt: { ...stageIn(rcpt), share } }
}

/** Each limit once; whose it is, and its setting, we know ourselves. */
function limitsIn(value: unknown): readonly LimitReport[] {
  const rows = Array.isArray(value) ? value.slice(0, LIMIT_NAMES.length + 1).map(fieldsOf) : []
  return (['ip_concurrency', ...LIMIT_NAMES] as const).flatMap((limit) => {
    const row = rows.find((each) => each.limit === limit)
    const [used, max, windowSeconds] = [amountIn(row?.used), amountIn(row?.max), amountIn(row?.windowSeconds)]
    if (used === undefined || max === undefined) return []
    const resetsAt = timeIn(row?.resetsAt)
    const { setting, per } =
      limit === 'ip_concurrency'
        ? ({ setting: 'SPILLWAY_LIMIT_IP_CONCURRENCY', per: 'source' } as const)
        : LIMITS[limit]
    const window = windowSeconds === undefined ? {} : { windowSeconds }
    return [{ limit, setting, per, used, max, ...window, ...(resetsAt !== undefined && { resetsAt }) }]
  })
}

function dnsIn(value: unknown): Part['dns'] {
  const fields = fieldsOf(value)
  const name = fields.name === null ? null : textIn(fields.name)
  const [domain, lists] = [textIn(fields.domain), fieldsOf(fields.lists)]
  const [score, threshold] = [amountIn(lists.score), amountIn(lists.threshold)]
  const listed = Array.isArray(lists.zones) ? lists.zones.slice(0, MOST_ZONES) : []
  const zones = listed.flatMap((each) => textIn(each) ?? [])
  return {
    ...(name !== undefined && { name }),
    ...(domain !== undefined && { domain }),
    ...(score !== undefined && threshold !== undefined && { lists: { score, threshold, zones } }),
  }
}

function greetingIn(value: unknown): Part['greetingTest'] {
  const { passed, delayMs } = fieldsOf(value)
  return { passed: passed === true, delayMs: amountIn(delayMs) ?? 0 }
}
