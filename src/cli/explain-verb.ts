/**
 * `spillway explain`: asks the node that runs with these settings what an address, a network, a sender or an id is to it. An id tells
 * something by itself as well (explain.ts), which is the answer where no node can be asked.
 */

import type { BanReport } from '../admin/bans.ts'
import type {
  AddressExplained,
  Explanation,
  LimitReport,
  NetworkExplained,
  NetworkNode,
  NodeExplained,
  NodeSilent,
  PastReport,
} from '../admin/explain.ts'
import type { ObservedReport, SessionReport, Sessions } from '../admin/sessions.ts'
import type { Loaded } from '../config/load.ts'
import { SettingsError } from '../config/mistakes.ts'
import { writtenAddress } from '../core/address.ts'
import { readId, writtenId } from '../core/id.ts'
import { parseNetwork } from '../core/ip.ts'
import { askFor, LONGEST_MS, runVerb, timeOf, type VerbOptions, type VerbTold, WITH_SETTINGS } from './admin-verb.ts'
import type { Admin } from './ask-node.ts'
import { explain } from './explain.ts'

/** Never rejects. @param positionals what is asked about */
export async function explained(
  loaded: Loaded | SettingsError,
  [asked = '']: readonly string[],
  options: VerbOptions,
): Promise<VerbTold> {
  const id = writtenId(asked)
  const isId = readId(id) !== undefined
  const isSender = asked.includes('@') && writtenAddress(asked) !== undefined
  if (!isId && !isSender && !isNetwork(asked.trim())) return offline(asked, options)
  const path = `/api/v1/explain?q=${encodeURIComponent(isId ? id : asked.trim())}`
  const ask = (admin: Admin): Promise<unknown> => askFor(admin, { method: 'GET', path, longestMs: LONGEST_MS })
  const told = await runVerb(
    loaded,
    options,
    () => ask,
    (answer) => inWords(answer as Explanation),
  )
  if (told.code === 0 || !isId) return told
  const alone = offline(id, options)
  if (options.json) return alone
  const why =
    loaded instanceof SettingsError ? `there are mistakes in the settings. ${WITH_SETTINGS}` : told.output.trim()
  return { ...alone, output: `${alone.output}The node was not asked: ${why}\n` }
}

function isNetwork(text: string): boolean {
  try {
    parseNetwork(text)
    return true
  } catch {
    return false
  }
}

function offline(text: string, options: VerbOptions): VerbTold {
  const { output, code } = explain(text, options)
  return { output, code }
}

function inWords(answer: Explanation): string {
  const { verdict, change, differences = [] } = answer
  const address =
    answer.kind === 'id' || answer.kind === 'sender' ? answer.address : answer.kind === 'address' ? answer : undefined
  const bans = answer.kind === 'network' ? answer.bans : []
  const lines = [
    verdict,
    ...differences,
    ...change,
    ...(address === undefined ? [] : ['', ...factsOf(address), ...nodeLines(address)]),
    ...(answer.kind === 'network' ? nodeLines(answer) : []),
    ...bans.map(({ network, by, reason, until }) => `banned: ${network} by ${by} (${reason}) until ${timeOf(until)}`),
    ...sessionLines(answer),
  ]
  return `${lines.join('\n')}\n`
}

const sessionLines = ({ refused, served, observed, lookedIn }: Sessions): string[] => [
  '',
  ...(refused.length === 0 ? [] : ['Turned away lately:', ...refused.map(sessionLine)]),
  ...(served.length === 0 ? [] : ['Let in lately:', ...served.map(sessionLine)]),
  ...observed.map(observedLine),
  ...(refused.length + served.length === 0 ? ['No session of it is kept.'] : []),
  lookedIn.note,
]

/** The facts of the node that was asked are there already. */
function nodeLines({ nodes = [], nodesAsked }: AddressExplained | NetworkExplained): string[] {
  if (nodesAsked === undefined) return []
  const others = nodes.filter(({ here }) => !here)
  return ['', ...others.flatMap(nodeLine), nodesAsked.note]
}

const nodeLine = (node: NodeExplained | NetworkNode | NodeSilent): string[] => {
  if (!node.answered) return [`${node.node}: ${node.note}.`]
  if (!('now' in node)) {
    const { ban, allowed, overloadLevel, net } = node
    return [
      `${node.node} says:`,
      `  network   ${pastWords(net)}`,
      ...(allowed === undefined ? [] : [`  ${allowedLine(allowed)}`]),
      ...(ban === undefined ? [] : [`  ${banLine(ban)}`]),
      `  level     ${overloadLevel}`,
    ]
  }
  const { verdict, now, standing, ban, allowed, points, limits } = node
  return [
    `${node.node} says: ${verdict}`,
    `  itself    ${pastWords(standing.own)}`,
    ...(allowed === undefined ? [] : [`  ${allowedLine(allowed)}`]),
    ...(ban === undefined ? [] : [`  ${banLine(ban)}`]),
    `  ${pointsLine(points)}`,
    `  level     ${now.overloadLevel}`,
    ...limits.map((row) => `  ${limitLine(row)}`),
  ]
}

const allowedLine = ({ network, reason, until }: BanReport): string =>
  `allowed   ${network} (${reason}) until ${timeOf(until)}`
const banLine = ({ network, by, reason, since, until }: BanReport): string =>
  `banned    ${network} by ${by} (${reason}) from ${timeOf(since)} until ${timeOf(until)}`
const pointsLine = ({ now, banAt }: AddressExplained['points']): string =>
  `points    ${banAt === undefined ? `${now}; nobody is banned by itself` : `${now} of ${banAt} towards a ban`}`

const observedLine = ({ check, wouldRefuse, accepted }: ObservedReport): string =>
  `If it were not only observed, ${check} would have turned something away in ${wouldRefuse} of these sessions; ${accepted} of them brought mail that was accepted.`

function factsOf({
  standing,
  ban,
  allowed,
  points,
  lists,
  now,
  limits,
  dns,
  greetingTest,
  ...who
}: AddressExplained): string[] {
  const on = Object.entries(lists).flatMap(([name, is]) => (is ? [name] : []))
  const { domain } = standing
  const name = dns.name === undefined ? 'not known' : (dns.name ?? 'none')
  const { delayMs, passed } = greetingTest
  const greeting = passed
    ? 'passed within a day'
    : delayMs > 0
      ? `not passed: it waits for ${delayMs} ms`
      : 'none for it'
  return [
    `address   ${who.address}, counted as ${who.source}, network ${who.net}`,
    `itself    ${pastWords(standing.own)}`,
    `network   ${pastWords(standing.net)}`,
    ...(domain === undefined ? [] : [`domain    ${domain.name}: ${pastWords(domain)}, from ${domain.nets} networks`]),
    `lists     ${on.length === 0 ? 'none' : on.join(', ')}`,
    ...(allowed === undefined ? [] : [allowedLine(allowed)]),
    ...(ban === undefined ? [] : [banLine(ban)]),
    pointsLine(points),
    `name      ${name}${dns.domain === undefined ? '' : `, of ${dns.domain}`}`,
    ...(dns.lists === undefined
      ? []
      : [`DNS lists score ${dns.lists.score} of ${dns.lists.threshold} ${dns.lists.zones.join(' ')}`.trimEnd()]),
    `greeting  ${greeting}`,
    `level     ${now.overloadLevel}`,
    ...limits.map(limitLine),
  ]
}

const pastWords = ({ good, recentGood, recentBad, firstGood, lastGood, lastBad }: PastReport): string => {
  if (firstGood === undefined && lastBad === undefined) return 'nothing is known'
  const since = firstGood === undefined ? '' : ` since ${timeOf(firstGood)}, the last ${timeOf(lastGood ?? firstGood)}`
  const bad = lastBad === undefined ? '' : `, the last bad one ${timeOf(lastBad)}`
  return `${good} good${since}${bad}; lately good ${recentGood}, bad ${recentBad}`
}

const limitLine = ({ limit, per, used, max, windowSeconds, resetsAt }: LimitReport): string => {
  const window = windowSeconds === undefined ? ' at once' : ` in ${windowSeconds} s`
  const reset = resetsAt === undefined ? '' : `, all over at ${timeOf(resetsAt)}`
  return `limit     ${limit}: ${used} of ${max}${window} per ${per}${reset}`
}

function sessionLine(session: SessionReport): string {
  const { id, at, host, ip, standing, stage, helo, from, rcpts = [], rcptCount = 0, sample } = session
  const [to] = rcpts
  const said = [
    ...(helo === undefined ? [] : [`HELO ${helo}`]),
    ...(from === undefined ? [] : [`from <${from}>`]),
    ...(to === undefined ? [] : [`to <${to.to}>${rcptCount > 1 ? ` and ${rcptCount - 1} more` : ''}`]),
    ...(sample === undefined ? [] : [`one of ${sample}`]),
  ]
  return [timeOf(at), id, `at ${host}`, ip, standing, `${stage}:`, whyOf(session), ...said].join('  ')
}

function whyOf({ reason, code, refusedBy, messages = [], observe = [] }: SessionReport): string {
  if (reason !== undefined) return `${reason} ${code}`
  if (refusedBy !== undefined) return `${refusedBy.upstream} said ${refusedBy.reply}`
  const accepted = messages.find(({ result }) => result === 'accepted')
  const seen = observe.length === 0 ? '' : ` (observed: ${observe.join(', ')})`
  return `${accepted === undefined ? 'no mail' : `accepted, ${accepted.reply}`}${seen}`
}
