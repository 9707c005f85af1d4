/** What a network is to this node, and what is remembered of networks and lists for an address as well. */
import { reportOf } from '../admin/bans.ts'
import type { ListsReport, NetworkExplained, NetworkNode, PastReport } from '../admin/explain.ts'
import { compile, type Network, overlaps } from '../core/ip.ts'
import type { Level } from '../core/overload.ts'
import { HOUR_MS } from '../core/time.ts'
import type { Bans } from '../state/bans.ts'
import type { History } from '../state/history.ts'
import type { Past } from '../state/past.ts'
import { ofNetwork, type SessionSources, sessionsFor } from './explain-sessions.ts'
import type { BuiltPolicy } from './policy.ts'

export interface NetworkSources {
  readonly bans: Bans
  readonly history: Pick<History, 'net'>
  readonly policy: Pick<BuiltPolicy, 'lists'>
  readonly overload: { readonly level: Level }
}

/** Bans of a network that are told of, at most. */
const BANS_SHOWN = 20

const iso = (at: number): string => new Date(at).toISOString()
export const rounded = (weight: number): number => Math.round(weight * 100) / 100

export const pastOf = ({ good, recentGood, recentBad, first, lastGood, lastBad }: Past): PastReport => ({
  ...{ good, recentGood: rounded(recentGood), recentBad: rounded(recentBad) },
  ...(first > 0 && { firstGood: iso(first * HOUR_MS) }),
  ...(lastGood > 0 && { lastGood: iso(lastGood * HOUR_MS) }),
  ...(lastBad > 0 && { lastBad: iso(lastBad * HOUR_MS) }),
})

/** @param ip undefined: it is about a whole network */
export function listsOf(
  network: Network,
  ip: string | undefined,
  { policy }: Pick<NetworkSources, 'policy'>,
): ListsReport {
  const one = ip === undefined ? network : { ...network, first: ip, bits: network.family === 4 ? 32 : 64 }
  const { allow, deny, relays, proxyProtocolFrom } = policy.lists
  const isOn = (list: typeof allow): boolean => overlaps(list, one)
  return { allow: isOn(allow), deny: isOn(deny), relays: isOn(relays), balancer: isOn(proxyProtocolFrom) }
}

/** What can be told without a look at every ban. */
export function networkNow(network: Network, sources: NetworkSources): Omit<NetworkNode, 'node' | 'here' | 'answered'> {
  const { bans, history, overload } = sources
  const [allowed, ban] = [bans.allowedIn(network), bans.of(network.first)]
  return {
    ...{ overloadLevel: overload.level, lists: listsOf(network, undefined, sources) },
    ...(allowed !== undefined && { allowed: reportOf(allowed) }),
    ...(ban !== undefined && { ban: reportOf(ban) }),
    net: pastOf(history.net(network.first)),
  }
}

export async function networkExplained(
  network: Network,
  sources: NetworkSources & SessionSources,
): Promise<NetworkExplained> {
  const { bans } = sources
  const isIn = compile([network])
  const inside = bans.list().filter((ban) => isIn(ban.network.slice(0, ban.network.indexOf('/'))))
  const around = bans.of(network.first)
  const all = around === undefined || inside.includes(around) ? inside : [around, ...inside]
  const now = networkNow(network, sources)
  const sessions = await sessionsFor(ofNetwork(network), sources)
  return {
    ...{
      kind: 'network',
      ...networkSaid(network.text, { lists: now.lists, bans: all.length, refused: sessions.refused.length }),
    },
    ...{ network: network.text, ...now },
    bans: all
      .sort((a, b) => b.since - a.since)
      .slice(0, BANS_SHOWN)
      .map(reportOf),
    ...sessions,
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
