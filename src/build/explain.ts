/**
 * What an address, a network or an id is to this node (admin/explain.ts), read from the parts that know it. Nothing is counted, charged or
 * taught by it, and the DNS is not asked. At connect it is judged by the checks in force (explain-verdict.ts).
 */
import { isIP } from 'node:net'
import { reportOf } from '../admin/bans.ts'
import type {
  AddressExplained,
  Explain,
  Explanation,
  IdExplained,
  LimitReport,
  ListsReport,
  NetworkExplained,
  PastReport,
  RefusedReport,
  StageReport,
} from '../admin/explain.ts'
import { NARROWEST_BITS } from '../core/bans.ts'
import type { Client } from '../core/client.ts'
import { messageOf } from '../core/errors.ts'
import { readId, refusalId, writtenId } from '../core/id.ts'
import { canonical, compile, familyOf, type Network, netOf, overlaps, parseNetwork, sourceOf } from '../core/ip.ts'
import { LIMITS } from '../core/limits.ts'
import type { Name } from '../dns/names.ts'
import type { ClientDomains } from '../front/client-domains.ts'
import type { RecentRefusals, RefusedSession } from '../front/recent-refusals.ts'
import { delayAt } from '../overload/levels.ts'
import { perClient } from '../overload/maximum.ts'
import type { Bans } from '../state/bans.ts'
import { netsOf } from '../state/domains.ts'
import type { History } from '../state/history.ts'
import { HOUR_MS, type Past } from '../state/past.ts'
import { judged, type Stages, type VerdictSources } from './explain-verdict.ts'
import { becauseOf, changeOf, replyOf, verdictOf } from './explain-words.ts'

export interface ExplainSources extends VerdictSources {
  readonly bans: Bans
  readonly history: Pick<History, 'own' | 'net' | 'domains'>
  readonly domains: Pick<ClientDomains, 'of'>
  readonly nameKnown: (ip: string) => Name | undefined
  readonly passed: { has(test: 'greeting', source: string): boolean }
  readonly recent: Pick<RecentRefusals, 'find'>
}

/** Sessions that are told of, at most. */
const SHOWN = 20
/** Bans of a network that are told of, at most. */
const BANS_SHOWN = 20
const WHAT = 'an address, a network or an id, such as 192.0.2.1 or 1RV17D4600503'

const iso = (at: number): string => new Date(at).toISOString()

export const buildExplain =
  (sources: ExplainSources): ((asked: string) => Exclude<ReturnType<Explain>, Promise<unknown>>) =>
  (asked) => {
    if (isIP(asked) !== 0 && !asked.includes('%')) return addressExplained(canonical(asked.toLowerCase()), sources)
    if (asked.includes('/') || asked.includes(':') || asked.includes('.')) {
      try {
        return networkExplained(parseNetwork(asked), sources)
      } catch (error) {
        return { mistake: messageOf(error) }
      }
    }
    return idExplained(writtenId(asked), sources) ?? { mistake: WHAT }
  }

function clientOf(ip: string, { policy, domains }: ExplainSources): Client {
  const address = { ip, source: sourceOf(ip), net: netOf(ip), domain: domains.of(ip) }
  const standing = policy.standingOf(address)
  const isRelay = policy.isRelay(ip)
  return { ...address, id: '', port: 0, family: familyOf(ip), local: { ip: '', port: 0 }, standing, isRelay }
}

function addressExplained(ip: string, sources: ExplainSources): AddressExplained {
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
    now: {
      overloadLevel: overload.level,
      connect: stageOf(stages.connect),
      rcpt: { ...stageOf(stages.rcpt), share },
    },
    limits,
    ...dnsAndGreeting(client, sources),
    refused: refusedBy((entry) => sourceOf(entry.ip) === client.source, sources),
  }
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

const rounded = (weight: number): number => Math.round(weight * 100) / 100

const pastOf = ({ good, recentGood, recentBad, first, lastGood, lastBad }: Past): PastReport => ({
  ...{ good, recentGood: rounded(recentGood), recentBad: rounded(recentBad) },
  ...(first > 0 && { firstGood: iso(first * HOUR_MS) }),
  ...(lastGood > 0 && { lastGood: iso(lastGood * HOUR_MS) }),
  ...(lastBad > 0 && { lastBad: iso(lastBad * HOUR_MS) }),
})

/** @param ip undefined: it is about a whole network */
function listsOf(network: Network, ip: string | undefined, { policy }: ExplainSources): ListsReport {
  const one = ip === undefined ? network : { ...network, first: ip, bits: network.family === 4 ? 32 : 64 }
  const { allow, deny, relays, proxyProtocolFrom } = policy.lists
  const isOn = (list: typeof allow): boolean => overlaps(list, one)
  return { allow: isOn(allow), deny: isOn(deny), relays: isOn(relays), balancer: isOn(proxyProtocolFrom) }
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

function networkExplained(network: Network, sources: ExplainSources): Explanation {
  const { bans, history } = sources
  // One host: it is told of as its address.
  if (network.bits >= NARROWEST_BITS[network.family]) return addressExplained(network.first, sources)
  const isIn = compile([network])
  const inside = bans.list().filter((ban) => isIn(ban.network.slice(0, ban.network.indexOf('/'))))
  const around = bans.of(network.first)
  const all = around === undefined || inside.includes(around) ? inside : [around, ...inside]
  const allowed = bans.allowedIn(network)
  const lists = listsOf(network, undefined, sources)
  const refused = refusedBy(({ ip }) => isIn(ip), sources)
  return {
    ...{ kind: 'network', ...networkSaid(network.text, { lists, bans: all.length, refused: refused.length }) },
    ...{ network: network.text, lists },
    ...(allowed !== undefined && { allowed: reportOf(allowed) }),
    bans: all
      .sort((a, b) => b.since - a.since)
      .slice(0, BANS_SHOWN)
      .map(reportOf),
    ...{ net: pastOf(history.net(network.first)), refused },
  }
}

function networkSaid(
  text: string,
  { lists, bans, refused }: { readonly lists: ListsReport; readonly bans: number; readonly refused: number },
): Pick<NetworkExplained, 'verdict' | 'change'> {
  const named = { allow: 'SPILLWAY_ALLOW', deny: 'SPILLWAY_DENY', relays: 'SPILLWAY_RELAYS' } as const
  const on = (['allow', 'deny', 'relays'] as const).filter((list) => lists[list]).map((list) => named[list])
  const listed = on.length === 0 ? 'none of its addresses is on a list' : `addresses of it are on ${on.join(', ')}`
  const count = (many: number, one: string): string => `${many === 0 ? 'no' : many} ${one}${many === 1 ? '' : 's'}`
  return {
    verdict: `${text}: ${listed}, ${count(bans, 'ban')} in it or around it, and ${count(refused, 'session')} of it among the last ones that were turned away.`,
    change: [
      'Each address is judged by itself: ask for one of them.',
      `To turn all of it away: spillway bans add ${text}. To let all of it in: spillway allow add ${text}.`,
    ],
  }
}

function idExplained(id: string, sources: ExplainSources): IdExplained | undefined {
  const read = readId(id)
  if (read === undefined) return undefined
  const session = id.slice(0, 11)
  const refused = refusedBy((entry) => entry.id === session, sources)
  const [found] = refused
  const { at, node, reason } = read
  const address = found && addressExplained(found.ip, sources)
  const where = `In the log: grep ${session}.`
  return {
    kind: 'id',
    verdict:
      found === undefined
        ? `The session began at ${iso(at.getTime())}, and is not among the last ones that were turned away here${reason === undefined ? '' : `; the id says: ${reason}`}.`
        : `${found.ip} was turned away at stage ${found.stage}${found.reason === undefined ? `: ${found.refusedBy?.upstream} said ${found.refusedBy?.reply}` : ` for ${found.reason}`}. Now: ${address?.verdict}`,
    change: [...(address?.change ?? []), where],
    ...{ id, at: iso(at.getTime()), node },
    ...(reason !== undefined && { reason }),
    ...(address !== undefined && { address }),
    refused,
  }
}

const refusedBy = (fits: (entry: RefusedSession) => boolean, { recent }: ExplainSources): RefusedReport[] =>
  recent.find(fits, SHOWN).map(refusedReport)

function refusedReport(entry: RefusedSession): RefusedReport {
  const { id, ip, standing, stage, refusal, helo, from, refusedBy: said } = entry
  const facts = Object.entries(refusal?.facts ?? {}).flatMap(([name, fact]) =>
    fact === undefined ? [] : [[name, fact]],
  )
  return {
    ...{ id: refusalId(id, refusal?.reason), at: iso(readId(id)?.at.getTime() ?? 0), ip, standing, stage },
    ...(refusal !== undefined && { reason: refusal.reason, code: refusal.code }),
    ...(facts.length > 0 && { facts: Object.fromEntries(facts) as Readonly<Record<string, string | number>> }),
    ...(helo !== undefined && { helo }),
    ...(from !== undefined && { from }),
    ...(said !== undefined && { refusedBy: said }),
  }
}
