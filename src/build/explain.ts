/**
 * What an address, a network, a sender or an id is to this node (admin/explain.ts), read from the parts that know it. Nothing is counted,
 * charged or taught by it, and the DNS is not asked. At connect it is judged by the checks in force (explain-verdict.ts). The last sessions
 * are those of all nodes (explain-sessions.ts).
 */
import { isIP } from 'node:net'
import { reportOf } from '../admin/bans.ts'
import type {
  AddressExplained,
  Explanation,
  IdExplained,
  LimitReport,
  NotExplained,
  SenderExplained,
  StageReport,
} from '../admin/explain.ts'
import type { Sessions } from '../admin/sessions.ts'
import { writtenAddress } from '../core/address.ts'
import { addressHmac } from '../core/address-hmac.ts'
import { NARROWEST_BITS } from '../core/bans.ts'
import type { Client } from '../core/client.ts'
import { messageOf } from '../core/errors.ts'
import { readId, writtenId } from '../core/id.ts'
import { canonical, familyOf, type Network, netOf, parseNetwork, sourceOf } from '../core/ip.ts'
import { latestOf } from '../core/kept-session.ts'
import { LIMITS } from '../core/limits.ts'
import { reasonOf } from '../core/reasons.ts'
import { visible } from '../core/visible.ts'
import type { Name } from '../dns/names.ts'
import type { ClientDomains } from '../front/client-domains.ts'
import { delayAt } from '../overload/levels.ts'
import { perClient } from '../overload/maximum.ts'
import type { Bans } from '../state/bans.ts'
import { netsOf } from '../state/domains.ts'
import type { History } from '../state/history.ts'
import type { Points } from '../state/points.ts'
import { listsOf, networkExplained, pastOf, rounded } from './explain-network.ts'
import {
  becameOf,
  ofSender,
  ofSource,
  type SessionSources,
  senderSaid,
  sessionsFor,
  whyNoRecord,
} from './explain-sessions.ts'
import { judged, type Stages, type VerdictSources } from './explain-verdict.ts'
import { becauseOf, changeOf, replyOf, timeOf, verdictOf } from './explain-words.ts'

export interface ExplainSources extends VerdictSources, Pick<SessionSources, 'recent' | 'kept' | 'now'> {
  readonly bans: Bans
  readonly points: Pick<Points, 'of'>
  readonly history: Pick<History, 'own' | 'net' | 'domains'>
  readonly domains: Pick<ClientDomains, 'of'>
  readonly nameKnown: (ip: string) => Name | undefined
  readonly passed: { has(test: 'greeting', source: string): boolean }
}

const WHAT =
  'expected an address, a network, a sender or an id, such as 192.0.2.1, 192.0.2.0/24, alice@example.org or 1RV17D4600503'

const iso = (at: number): string => new Date(at).toISOString()

/** Never rejects. */
export const buildExplain =
  (sources: ExplainSources): ((asked: string) => Promise<Explanation | NotExplained>) =>
  async (asked) => {
    if (asked.includes('@')) {
      const sender = writtenAddress(asked)
      return sender === undefined ? { mistake: WHAT } : senderExplained(sender, sources)
    }
    if (isIP(asked) !== 0 && !asked.includes('%')) return addressExplained(canonical(asked.toLowerCase()), sources)
    if (asked.includes('/') || asked.includes(':') || asked.includes('.')) {
      let network: Network
      try {
        network = parseNetwork(asked)
      } catch (error) {
        return { mistake: messageOf(error) }
      }
      // One host: it is told of as its address.
      if (network.bits >= NARROWEST_BITS[network.family]) return addressExplained(network.first, sources)
      return networkExplained(network, sources)
    }
    return (await idExplained(writtenId(asked), sources)) ?? { mistake: WHAT }
  }

function clientOf(ip: string, { policy, domains }: ExplainSources): Client {
  const address = { ip, source: sourceOf(ip), net: netOf(ip), domain: domains.of(ip) }
  const standing = policy.standingOf(address)
  const isRelay = policy.isRelay(ip)
  const as = { standing, isRelay, countedAs: policy.countedAs(address) }
  return { ...address, id: '', port: 0, family: familyOf(ip), local: { ip: '', port: 0 }, ...as }
}

/** @param wasAway Redis has not answered a moment ago */
async function addressExplained(ip: string, sources: ExplainSources, wasAway = false): Promise<AddressExplained> {
  const sessions = await sessionsFor(ofSource(ip), sources, wasAway)
  return { ...addressNow(ip, sources), ...sessions }
}

/** Without its sessions, and at once. @param ip canonical */
export function addressNow(ip: string, sources: ExplainSources): Omit<AddressExplained, keyof Sessions> {
  const { policy, bans, overload } = sources
  const client = clientOf(ip, sources)
  const stages = judged(client, sources)
  const by = policy.decidedBy(client)
  const ban = bans.of(ip)
  const allowed = bans.isAllowed(ip) ? bans.allowedIn(parseNetwork(ip)) : undefined
  const limits = limitsOf(client, stages, sources)
  const { share } = stages
  const observed = [...stages.connect.observed, ...stages.rcpt.observed].map(({ reason }) => reason)
  const told = {
    ...{ client, by, ban, level: overload.level, settings: policy.settings, share, limits, observed },
    ...{ connect: stages.connect.refusal, rcpt: stages.rcpt.refusal },
  }
  return {
    ...{ kind: 'address', verdict: verdictOf(told), change: changeOf(told) },
    ...{ address: ip, source: client.source, net: client.net },
    standing: { is: client.standing, by, because: becauseOf(by), ...evidenceOf(client, sources) },
    lists: listsOf(parseNetwork(client.source), ip, sources),
    ...(allowed !== undefined && { allowed: reportOf(allowed) }),
    ...(ban !== undefined && { ban: reportOf(ban) }),
    points: pointsOf(client, sources),
    now: {
      overloadLevel: overload.level,
      connect: stageOf(stages.connect),
      rcpt: { ...stageOf(stages.rcpt), share },
    },
    limits,
    ...dnsAndGreeting(client, sources),
  }
}

function pointsOf({ source }: Client, { points, policy }: ExplainSources): AddressExplained['points'] {
  const { banAfter } = policy.settings
  return { now: rounded(points.of(source)), ...(banAfter !== undefined && { banAt: banAfter }) }
}

const stageOf = ({ refusal, observed }: Stages['connect']): StageReport => ({
  ...(refusal !== undefined && { reason: refusal.reason, reply: replyOf(refusal) }),
  observed: observed.map(({ reason }) => reason),
})

function evidenceOf(
  { ip, domain }: Client,
  { history }: ExplainSources,
): Pick<AddressExplained['standing'], 'own' | 'net' | 'domain'> {
  const own = pastOf(history.own(ip))
  const net = pastOf(history.net(ip))
  if (domain === undefined) return { own, net }
  const past = history.domains.of(domain)
  return { own, net, domain: { name: domain, nets: netsOf(past), ...pastOf(past) } }
}

function limitsOf(client: Client, { open, peeked }: Stages, { policy, overload }: ExplainSources): LimitReport[] {
  const rows = peeked.map(({ limit, used, max, windowMs, overAt }): LimitReport => {
    const { setting, per } = LIMITS[limit]
    const reset = used > 0 ? { resetsAt: iso(overAt) } : {}
    return { limit, setting, per, used, max, windowSeconds: windowMs / 1000, ...reset }
  })
  const { limitIpConcurrency: most } = policy.settings
  if (most === undefined || client.isRelay || client.standing === 'trusted') return rows
  const max = perClient(most, client.standing, overload.enforced, policy.factors())
  const setting = 'SPILLWAY_LIMIT_IP_CONCURRENCY'
  return [{ limit: 'ip_concurrency', setting, per: 'source', used: open.source - 1, max }, ...rows]
}

function dnsAndGreeting(
  { ip, source, domain, standing }: Client,
  { nameKnown, dnsLists, passed, policy, overload }: ExplainSources,
): Pick<AddressExplained, 'dns' | 'greetingTest'> {
  const name = nameKnown(ip)
  const said = dnsLists.peek(ip)
  const { greetingDelay = 0, dnsblThreshold: threshold } = policy.settings
  const isSpared = standing === 'trusted' || standing === 'known' || standing === 'seen'
  const hasPassed = passed.has('greeting', source)
  return {
    dns: {
      ...(name?.kind === 'name' && { name: name.name }),
      ...(name?.kind === 'none' && { name: null }),
      ...(domain !== undefined && { domain }),
      ...(said !== undefined && { lists: { score: said.score, threshold, zones: said.zones } }),
    },
    greetingTest: {
      passed: hasPassed,
      delayMs: isSpared || hasPassed ? 0 : delayAt(overload.enforced, greetingDelay),
    },
  }
}

async function idExplained(id: string, sources: ExplainSources): Promise<IdExplained | undefined> {
  const read = readId(id)
  if (read === undefined) return undefined
  const session = id.slice(0, 11)
  const sessions = await sessionsFor({ id: session }, sources)
  const [found] = [...sessions.refused, ...sessions.served]
  const { at, node, reason } = read
  const when = timeOf(at.getTime())
  const address = found && (await addressExplained(found.ip, sources, isAway(sessions)))
  const says =
    reason === undefined
      ? ''
      : ` The id says by itself that it was turned away because ${reasonOf(reason).operator}; the reason is ${reason}.`
  const verdict =
    found === undefined
      ? `The session began at ${when} on the node with number ${node}. There is no record of it: ${whyNoRecord(at, sessions.lookedIn, sources.now())}.${says}`
      : `${found.ip} ${becameOf(found)}. It began at ${when} on ${found.host}, the node with number ${node}. Now: ${address?.verdict}`
  return {
    ...{ kind: 'id', verdict, change: [...(address?.change ?? []), `In the log: grep ${session}.`] },
    ...{ id, at: at.toISOString(), node },
    ...(found !== undefined && { host: found.host }),
    ...(reason !== undefined && { reason }),
    ...(address !== undefined && { address }),
    ...sessions,
  }
}

async function senderExplained(sender: string, sources: ExplainSources): Promise<SenderExplained> {
  const sessions = await sessionsFor(ofSender(sender), sources)
  const [last] = latestOf([sessions.refused, sessions.served], 1)
  const address = last && (await addressExplained(last.ip, sources, isAway(sessions)))
  const said = senderSaid(sender, sessions)
  const shown = visible(sender)
  const key = sources.policy.settings.logHmacKey
  const where =
    key === undefined
      ? `The log has no local parts unless SPILLWAY_LOG_LOCAL_PARTS is on, and no HMACs without SPILLWAY_LOG_HMAC_KEY.`
      : `In the log: grep ${addressHmac(key, sender)}.`
  return {
    kind: 'sender',
    verdict: visible(address === undefined ? said : `${said} Now: ${address.verdict}`),
    change: [...(address?.change ?? []), where],
    sender: shown,
    ...(address !== undefined && { address }),
    ...sessions,
  }
}

const isAway = ({ lookedIn }: Sessions): boolean => lookedIn.redis === 'away'
