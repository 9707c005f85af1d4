/**
 * An explanation (explain.ts) in words, for whoever shows it: `spillway explain` writes them as lines, and the page (page/explain-page.ts)
 * puts them into tables. What is told, and how it is worded, is decided here alone.
 */
import { reasonOf } from '../core/reasons.ts'
import type { BanReport } from './bans.ts'
import type {
  AddressExplained,
  Explanation,
  LimitReport,
  NetworkExplained,
  NetworkNode,
  NodeExplained,
  NodeSilent,
  PastReport,
} from './explain.ts'
import type { ObservedReport, SessionReport, Sessions } from './sessions.ts'

/** What a fact is about: who it is, bans and what is allowed, tests and the DNS, or load. */
export const ABOUT = ['who', 'bans', 'tests', 'load'] as const
export type About = (typeof ABOUT)[number]

export interface Fact {
  readonly about: About
  /** At most nine characters. */
  readonly name: string
  readonly words: string
}

export interface LimitFact extends Pick<LimitReport, 'limit' | 'setting' | 'used' | 'max'> {
  /** `in 60 s`, or `at once`. */
  readonly within: string
  /** `per source`. */
  readonly per: string
  /** Empty where nothing is used. */
  readonly reset: string
}

/** One of the other nodes. */
export interface NodeFacts {
  readonly node: string
  /** Whether it has answered. */
  readonly answered: boolean
  /** What it says first, or why it says nothing. */
  readonly says: string
  readonly facts: readonly Fact[]
  readonly limits: readonly LimitFact[]
}

export interface SessionFact extends Pick<SessionReport, 'id' | 'host' | 'ip' | 'standing' | 'stage'> {
  readonly at: string
  /** Why it was turned away, or what came of it. */
  readonly why: string
  /** What the client said, and what else there is. */
  readonly said: readonly string[]
}

/** What happens to the next message of an address. */
export type Outcome = 'let in' | 'partly put off' | 'put off' | 'refused'

export interface Facts {
  /** Undefined: it is about no single address. */
  readonly outcome: Outcome | undefined
  /** The node that says so, where there are others; undefined: there are none. */
  readonly at: string | undefined
  readonly verdict: string
  readonly differences: readonly string[]
  readonly change: readonly string[]
  readonly facts: readonly Fact[]
  readonly limits: readonly LimitFact[]
  /** The other nodes. */
  readonly nodes: readonly NodeFacts[]
  /** Which nodes were asked; undefined: none but this process. */
  readonly nodesNote: string | undefined
  /** Of a network. */
  readonly bans: readonly string[]
  readonly refused: readonly SessionFact[]
  readonly served: readonly SessionFact[]
  /** About the sessions, in sentences. */
  readonly sessionNotes: readonly string[]
}

export function factsOf(explained: Explanation): Facts {
  const { verdict, differences = [], change } = explained
  const address = addressIn(explained)
  const about = explained.kind === 'network' ? explained : address
  return {
    outcome: address && outcomeOf(address.now),
    at: (about?.nodes ?? []).length > 1 ? about?.nodes?.find(({ here }) => here)?.node : undefined,
    ...{ verdict, differences, change },
    facts: [
      ...(address === undefined ? [] : addressFacts(address)),
      ...(explained.kind === 'network' ? networkFacts(explained) : []),
    ],
    limits: (address?.limits ?? []).map(limitFact),
    // The facts of the node that was asked are there already.
    nodes: (about?.nodes ?? []).filter(({ here }) => !here).map(nodeFacts),
    nodesNote: about?.nodesAsked?.note,
    bans: explained.kind === 'network' ? explained.bans.map(bannedWords) : [],
    ...sessionFacts(explained),
  }
}

const addressIn = (explained: Explanation): AddressExplained | undefined => {
  if (explained.kind === 'network') return undefined
  return explained.kind === 'address' ? explained : explained.address
}

function outcomeOf({ connect, rcpt }: AddressExplained['now']): Outcome {
  const stage = connect.reason === undefined ? rcpt : connect
  if (stage.reason !== undefined) return stage.reply?.startsWith('5') ? 'refused' : 'put off'
  return rcpt.share < 1 ? 'partly put off' : 'let in'
}

/** A time of an answer, without fractions: `2026-11-28 08:15:00Z`. */
export const timeOf = (iso: string): string => iso.replace('T', ' ').replace(/\.\d+Z$/, 'Z')

function addressFacts(address: AddressExplained): Fact[] {
  const { standing, ban, allowed, points, lists, now, dns, greetingTest } = address
  const { domain } = standing
  const name = dns.name === undefined ? 'not known' : (dns.name ?? 'none')
  const { delayMs, passed } = greetingTest
  const waits = delayMs > 0 ? `not passed: it waits for ${delayMs} ms` : 'none for it'
  return [
    fact('who', 'address', `${address.address}, counted as ${address.source}, network ${address.net}`),
    fact('who', 'standing', `${standing.is}: ${standing.because}`),
    fact('who', 'itself', pastWords(standing.own)),
    fact('who', 'network', pastWords(standing.net)),
    ...(domain === undefined
      ? []
      : [fact('who', 'domain', `${domain.name}: ${pastWords(domain)}, from ${domain.nets} networks`)]),
    listsFact(lists),
    ...bansFacts({ ban, allowed }),
    pointsFact(points),
    fact('tests', 'name', `${name}${dns.domain === undefined ? '' : `, of ${dns.domain}`}`),
    ...(dns.lists === undefined ? [] : [fact('tests', 'DNS lists', listedWords(dns.lists))]),
    fact('tests', 'greeting', passed ? 'passed within a day' : waits),
    ...observedFacts(now),
    levelFact(now.overloadLevel),
  ]
}

function networkFacts({ lists, ban, allowed, overloadLevel, net }: NetworkExplained): Fact[] {
  return [
    fact('who', 'network', pastWords(net)),
    listsFact(lists),
    ...bansFacts({ ban, allowed }),
    levelFact(overloadLevel),
  ]
}

function nodeFacts(node: NodeExplained | NetworkNode | NodeSilent): NodeFacts {
  if (!node.answered) return { node: node.node, answered: false, says: node.note, facts: [], limits: [] }
  if (!('now' in node)) {
    const { ban, allowed, overloadLevel, net } = node
    const facts = [fact('who', 'network', pastWords(net)), ...bansFacts({ ban, allowed }), levelFact(overloadLevel)]
    return { node: node.node, answered: true, says: '', facts, limits: [] }
  }
  const { verdict, now, standing, ban, allowed, points, limits } = node
  const facts = [
    fact('who', 'itself', pastWords(standing.own)),
    ...bansFacts({ ban, allowed }),
    pointsFact(points),
    levelFact(now.overloadLevel),
  ]
  return { node: node.node, answered: true, says: verdict, facts, limits: limits.map(limitFact) }
}

const fact = (about: About, name: string, words: string): Fact => ({ about, name, words })

const LISTS = { allow: 'allow', deny: 'deny', relays: 'relays', balancer: 'balancer' } as const
function listsFact(lists: AddressExplained['lists']): Fact {
  const on = Object.entries(LISTS).flatMap(([list, name]) => (lists[list as keyof typeof LISTS] ? [name] : []))
  return fact('who', 'lists', on.length === 0 ? 'none' : on.join(', '))
}

const bansFacts = ({ ban, allowed }: Record<'ban' | 'allowed', BanReport | undefined>): Fact[] => [
  ...(allowed === undefined
    ? []
    : [fact('bans', 'allowed', `${allowed.network} (${allowed.reason}) until ${timeOf(allowed.until)}`)]),
  ...(ban === undefined
    ? []
    : [
        fact(
          'bans',
          'banned',
          `${ban.network} by ${ban.by} (${ban.reason}) from ${timeOf(ban.since)} until ${timeOf(ban.until)}`,
        ),
      ]),
]
const bannedWords = ({ network, by, reason, until }: BanReport): string =>
  `${network} by ${by} (${reason}) until ${timeOf(until)}`

const pointsFact = ({ now, banAt }: AddressExplained['points']): Fact =>
  fact(
    'bans',
    'points',
    banAt === undefined ? `${now}; nobody is banned by itself` : `${now} of ${banAt} towards a ban`,
  )

const levelFact = (level: number): Fact => fact('load', 'level', String(level))

const listedWords = ({ score, threshold, zones }: NonNullable<AddressExplained['dns']['lists']>): string =>
  `score ${score} of ${threshold} ${zones.join(' ')}`.trimEnd()

const observedFacts = ({ connect, rcpt }: AddressExplained['now']): Fact[] =>
  [...new Set([...connect.observed, ...rcpt.observed])].map((reason) =>
    fact('tests', 'observed', `${reason}: ${reasonOf(reason).operator}; it is only observed, and refuses nobody`),
  )

const pastWords = ({ good, recentGood, recentBad, firstGood, lastGood, lastBad }: PastReport): string => {
  if (firstGood === undefined && lastBad === undefined) return 'nothing is known'
  const since = firstGood === undefined ? '' : ` since ${timeOf(firstGood)}, the last ${timeOf(lastGood ?? firstGood)}`
  const bad = lastBad === undefined ? '' : `, the last bad one ${timeOf(lastBad)}`
  return `${good} good${since}${bad}; lately good ${recentGood}, bad ${recentBad}`
}

const limitFact = ({ limit, setting, per, used, max, windowSeconds, resetsAt }: LimitReport): LimitFact => ({
  ...{ limit, setting, used, max },
  within: windowSeconds === undefined ? 'at once' : `in ${windowSeconds} s`,
  per: `per ${per}`,
  reset: resetsAt === undefined ? '' : `all over at ${timeOf(resetsAt)}`,
})

function sessionFacts(sessions: Sessions): Pick<Facts, 'refused' | 'served' | 'sessionNotes'> {
  const { refused, served, observed, lookedIn } = sessions
  const none = refused.length + served.length === 0 ? ['No session of it is kept.'] : []
  return {
    refused: refused.map(sessionFact),
    served: served.map(sessionFact),
    sessionNotes: [...observed.map(observedWords), ...none, lookedIn.note],
  }
}

const observedWords = ({ check, wouldRefuse, accepted }: ObservedReport): string =>
  `If it were not only observed, ${check} would have turned something away in ${wouldRefuse} of these sessions; ${accepted} of them brought mail that was accepted.`

function sessionFact(session: SessionReport): SessionFact {
  const { id, at, host, ip, standing, stage, helo, from, rcpts = [], rcptCount = 0, sample } = session
  const [to] = rcpts
  const said = [
    ...(helo === undefined ? [] : [`HELO ${helo}`]),
    ...(from === undefined ? [] : [`from <${from}>`]),
    ...(to === undefined ? [] : [`to <${to.to}>${rcptCount > 1 ? ` and ${rcptCount - 1} more` : ''}`]),
    ...(sample === undefined ? [] : [`one of ${sample}`]),
  ]
  return { at: timeOf(at), ...{ id, host, ip, standing, stage, said }, why: whyOf(session) }
}

function whyOf({ reason, code, refusedBy, messages = [], observe = [] }: SessionReport): string {
  if (reason !== undefined) return `${reason} ${code}`
  if (refusedBy !== undefined) return `${refusedBy.upstream} said ${refusedBy.reply}`
  const accepted = messages.find(({ result }) => result === 'accepted')
  const seen = observe.length === 0 ? '' : ` (observed: ${observe.join(', ')})`
  return `${accepted === undefined ? 'no mail' : `accepted, ${accepted.reply}`}${seen}`
}
