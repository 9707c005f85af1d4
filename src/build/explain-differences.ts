/** In what nodes differ about an address, in sentences. What differs most for its mail comes first. */
import type { LimitReport, ListsReport, NetworkNode, NodeExplained, NodeSilent, StageReport } from '../admin/explain.ts'
import { LIMIT_NAMES } from '../core/limits.ts'
import { isLimit, timeOf } from './explain-words.ts'

/** Nodes that are named of those that say the same. */
const MOST_NAMED = 4
/** How far counts of one limit may be apart through what nodes have not told each other yet: a tenth of it (docs/redis.md). */
const APART = 0.1
/** A limit matters to a client that has used so much of it. */
const NEAR = 0.5
const LIMITS_TOLD = ['ip_concurrency', ...LIMIT_NAMES] as const

type Nodes = readonly NodeExplained[]
type AnyNode = NodeExplained | NetworkNode

/** @param nodes that have answered, the one that was asked first @param silent those that have not */
export function differencesOf(nodes: Nodes, silent: readonly NodeSilent[]): string[] {
  return [
    ...differing(nodes, outcomeOf, (of, names) => `${names} would ${outcomeOf(of)}${whyOf(of)}`, letsInLast),
    ...differing(
      nodes,
      standingOf,
      ({ standing }, names) => `to ${names} it is ${standing.is}, because ${standing.because}`,
    ),
    ...differing(nodes, banOf, (of, names) => `at ${names} ${banOf(of)}`),
    ...differing(nodes, allowedOf, (of, names) => `at ${names} ${allowedOf(of)}`),
    ...differing(nodes, listsOf, (of, names) => `at ${names} it is on ${listsOf(of)}`),
    ...silent.map(({ node, note }) => `${node}: ${note}.`),
    ...differing(nodes, levelOf, (of, names) => `the level of overload is ${levelOf(of)} at ${names}`),
    ...pointsDiffer(nodes),
    ...limitsDiffer(nodes),
  ]
}

/** The same of a network. */
export const networkDifferencesOf = (nodes: readonly NetworkNode[], silent: readonly NodeSilent[]): string[] => [
  ...differing(nodes, banOf, (of, names) => `at ${names} ${banOf(of)}`),
  ...differing(nodes, allowedOf, (of, names) => `at ${names} ${allowedOf(of)}`),
  ...differing(nodes, listsOf, (of, names) => `at ${names} it is on ${listsOf(of)}`),
  ...differing(nodes, levelOf, (of, names) => `the level of overload is ${levelOf(of)} at ${names}`),
  ...silent.map(({ node, note }) => `${node}: ${note}.`),
]

/** One sentence, where not all have the same key. */
function differing<N extends AnyNode>(
  nodes: readonly N[],
  keyOf: (node: N) => string,
  say: (one: N, names: string) => string,
  order: (a: N, b: N) => number = () => 0,
): string[] {
  const groups = new Map<string, N[]>()
  for (const node of [...nodes].sort(order)) {
    const key = keyOf(node)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [node])
    else group.push(node)
  }
  if (groups.size < 2) return []
  const said = [...groups.values()].map((group) => say(group[0] as N, namesOf(group))).join('; ')
  // What it begins with may be the name of a node, which is written as it is.
  return [`${/^(the level|to |at )/.test(said) ? said[0]?.toUpperCase() + said.slice(1) : said}.`]
}

function namesOf(group: readonly AnyNode[]): string {
  const names = group.slice(0, MOST_NAMED).map(({ node }) => node)
  const rest = group.length - names.length
  return rest > 0 ? `${names.join(', ')} and ${rest} more` : names.join(', ')
}

const isForGood = ({ reply = '' }: StageReport): boolean => reply.startsWith('5')

function outcomeOf({ now: { connect, rcpt } }: NodeExplained): string {
  for (const [stage, at] of [
    [connect, 'when it connects'],
    [rcpt, 'at RCPT'],
  ] as const)
    if (stage.reason !== undefined) return `${isForGood(stage) ? 'refuse it' : 'put it off'} ${at} (${stage.reason})`
  return rcpt.share < 1 ? `put off about ${Math.round((1 - rcpt.share) * 100)} % of its messages` : 'let it in'
}

const isLetIn = (node: NodeExplained): number => (outcomeOf(node) === 'let it in' ? 1 : 0)
const letsInLast = (a: NodeExplained, b: NodeExplained): number => isLetIn(a) - isLetIn(b)

function whyOf({ now, limits }: NodeExplained): string {
  const reason = now.connect.reason ?? now.rcpt.reason
  const row = reason !== undefined && isLimit(reason) ? limits.find(({ limit }) => limit === reason) : undefined
  const used = row === undefined ? '' : `, ${row.used} of ${row.max} used`
  return `${used}, at level ${now.overloadLevel}`
}

const standingOf = ({ standing }: NodeExplained): string => `${standing.is} ${standing.by}`
const levelOf = (node: AnyNode): string => String('now' in node ? node.now.overloadLevel : node.overloadLevel)
const banOf = ({ ban }: AnyNode): string =>
  ban === undefined
    ? 'it is not banned'
    : `${ban.network} is banned by ${ban.by} (${ban.reason}) until ${timeOf(Date.parse(ban.until))}`
const allowedOf = ({ allowed }: AnyNode): string =>
  allowed === undefined
    ? 'it is not allowed at run time'
    : `${allowed.network} is allowed (${allowed.reason}) until ${timeOf(Date.parse(allowed.until))}`

function listsOf({ lists }: AnyNode): string {
  const names: Readonly<Record<keyof ListsReport, string>> = {
    allow: 'SPILLWAY_ALLOW',
    deny: 'SPILLWAY_DENY',
    relays: 'SPILLWAY_RELAYS',
    balancer: 'SPILLWAY_PROXY_PROTOCOL_FROM',
  }
  const on = (Object.keys(names) as (keyof ListsReport)[]).filter((list) => lists[list]).map((list) => names[list])
  return on.length === 0 ? 'no list' : on.join(', ')
}

/** They fade all the time, and nodes are asked one after the other. */
function pointsDiffer(nodes: Nodes): string[] {
  const all = nodes.map(({ points }) => points.now)
  const textOf = ({ points }: NodeExplained): string =>
    `${Math.round(points.now)}${points.banAt === undefined ? ', and nobody is banned by itself there,' : ` of ${points.banAt}`}`
  const isSame = Math.max(...all) - Math.min(...all) < 1
  const from = isSame ? nodes.map((node) => ({ ...node, points: { ...node.points, now: all[0] as number } })) : nodes
  return differing(from, textOf, (of, names) => `${textOf(of)} at ${names}`).map(
    (said) => `Points towards a ban: ${said}`,
  )
}

function limitsDiffer(nodes: Nodes): string[] {
  const all = LIMITS_TOLD.map((limit) => ({ limit, ...limitDiffers(nodes, limit) }))
  const quiet = all.filter(({ isSame, isNear }) => !isSame && !isNear).map(({ limit }) => limit)
  const said = all.flatMap(({ limit, isSame, isNear }) => (isSame || !isNear ? [] : limitWords(nodes, limit)))
  return quiet.length === 0 ? said : [...said, `Not the same maximum at all nodes: ${quiet.join(', ')}.`]
}

const rowOf = ({ limits }: NodeExplained, limit: LimitReport['limit']): LimitReport | undefined =>
  limits.find((row) => row.limit === limit)

/** @returns `isNear`: half of it is used somewhere, or counts are not the same */
function limitDiffers(
  nodes: Nodes,
  limit: LimitReport['limit'],
): { readonly isSame: boolean; readonly isNear: boolean } {
  const set = nodes.flatMap((node) => rowOf(node, limit) ?? [])
  const most = Math.max(0, ...set.map(({ max }) => max))
  const used = set.map((row) => row.used)
  const isApart = set.length > 0 && Math.max(...used) - Math.min(...used) > Math.max(1, APART * most)
  const isOneMaximum = new Set(set.map(({ max }) => max)).size < 2 && (set.length === 0 || set.length === nodes.length)
  return {
    isSame: isOneMaximum && !isApart,
    isNear: isApart || set.some((row) => row.used >= NEAR * row.max),
  }
}

function limitWords(nodes: Nodes, limit: LimitReport['limit']): string[] {
  const textOf = (node: NodeExplained): string => {
    const row = rowOf(node, limit)
    return row === undefined ? 'not charged' : `${row.used} of ${row.max} used`
  }
  return differing(nodes, textOf, (of, names) => `${textOf(of)} at ${names}`).map((said) => `${limit}: ${said}`)
}
