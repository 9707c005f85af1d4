/** Builds the bans of a node (state/bans.ts), what makes them, and what the operator does with them. */
import { isIP } from 'node:net'
import type { NetworkLists } from '../config/reload.ts'
import {
  type Ban,
  type BanMistake,
  type BanRequest,
  DEFAULT_BAN_MS,
  NARROWEST_BITS,
  PARDON_MS,
  WIDEST_BITS,
} from '../core/bans.ts'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import { type Network, overlaps, parseNetwork, sourceOf } from '../core/ip.ts'
import type { Bans } from '../state/bans.ts'
import type { History } from '../state/history.ts'
import type { OffenceNews, OffenceTold } from '../state/offence-news.ts'
import { Offences } from '../state/offences.ts'
import type { Points } from '../state/points.ts'
import type { SharedAddresses } from '../state/shared-addresses.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { banLog, sparedLog } from './bans-log.ts'
import type { BuiltPolicy } from './policy.ts'

/** What the operator does with bans, and with what is allowed, at run time. */
export interface ListControl {
  /** Those in force, the latest first, as many as are asked for. */
  latest(limit: number): Latest
  add(asked: BanRequest): Ban | BanMistake
  /** Of bans: lifts what holds for an address or a network, and nothing is banned there by itself for a day. */
  remove(network: string): Ban | BanMistake
}

/** What the operator, and other processes of the node, do with bans and with what is allowed. */
export interface BanControl extends ListControl {
  readonly allowed: ListControl
  /** Bans in force. */
  list(): readonly Ban[]
  /** Everything that is remembered, pardons too. */
  all(): readonly Ban[]
  /** Takes what other processes of the node have made. */
  take(made: readonly Ban[]): void
  /** Called with what is made here. */
  onMade(listener: (ban: Ban) => void): void
  /** Takes what processes of the node, this one among them, tell of offenders. */
  takeOffences(told: readonly OffenceTold[]): void
  /** Called once a second with what is told of them here, where Redis does not tell it. */
  onOffences(listener: (told: readonly OffenceTold[]) => void): void
}

export interface Latest {
  /** How many there are. */
  readonly total: number
  readonly bans: readonly Ban[]
}

export interface BuiltBans {
  readonly bans: Bans
  readonly offences: Offences
  readonly control: BanControl
}

export interface BansSources {
  readonly bans: Bans
  readonly points: Points
  readonly addresses: SharedAddresses
  readonly offenceNews: OffenceNews
  /** That in force. */
  readonly policy: () => Pick<BuiltPolicy, 'settings' | 'lists'>
  readonly history: Pick<History, 'net'>
  readonly metrics: Pick<Metrics, 'bans'>
  readonly log: Log
  readonly clock: Clock
}

/** How often processes of a node tell each other of offenders. */
const TELL_MS = 1000

interface Doing {
  readonly verb: string
  /** What to do instead where it is about everybody. */
  readonly everybody: string
}
const BANNING: Doing = {
  verb: 'ban',
  everybody: 'To turn away everybody, stop Spillway or set SPILLWAY_OVERLOAD=4',
}
const ALLOWING: Doing = {
  verb: 'allow',
  everybody: 'To turn nobody away, set SPILLWAY_OBSERVE=all',
}

/** A network as an operator writes it. An IPv6 address stands for its /64, as everywhere. */
export function bannable(text: string, { verb, everybody }: Doing = BANNING): Network | BanMistake {
  let network: Network
  try {
    const isOneIPv6 = isIP(text) === 6 && !text.includes('%')
    network = parseNetwork(text)
    if (isOneIPv6 && network.family === 6) network = parseNetwork(sourceOf(network.first))
  } catch (error) {
    return { mistake: messageOf(error) }
  }
  const { family, bits } = network
  if (bits < WIDEST_BITS[family])
    return {
      mistake: `${network.text} is too wide: an IPv${family} network to ${verb} has a prefix length of at least ${WIDEST_BITS[family]}. ${everybody}`,
    }
  if (bits > NARROWEST_BITS[family])
    return { mistake: `${network.text} is narrower than a /64, which is one host: write the /64, or one address` }
  return network
}

export function buildBans(sources: BansSources): BuiltBans {
  const { bans, points, addresses, offenceNews, policy, history, metrics, log, clock } = sources
  const { now } = clock
  const logged = banLog(log, clock.elapsed)
  const offences = new Offences({
    bans,
    points,
    addresses,
    after: () => policy().settings.banAfter,
    banMs: () => policy().settings.banTime,
    hasGoodNeighbours: (ip) => history.net(ip).good > 0,
    now,
    banned(ban, reason) {
      metrics.bans.inc(reason)
      logged(ban)
    },
    spared: sparedLog(log, clock.elapsed),
  })
  const made = (ban: Ban): void => {
    metrics.bans.inc('operator')
    logged(ban)
  }
  const control: BanControl = {
    list: () => bans.list(),
    all: () => bans.all(),
    take(entries) {
      for (const ban of entries) bans.hear(ban)
    },
    onMade: (listener) => bans.onMade(listener),
    takeOffences(told) {
      for (const each of told) offenceNews.hear(each)
    },
    onOffences(listener) {
      offenceNews.share()
      setInterval(() => {
        const told = offenceNews.takeUntold()
        if (told.length > 0) listener(told)
      }, TELL_MS).unref()
    },
    ...operatorsBans({ bans, policy, log, clock }, made),
    allowed: operatorsAllowed({ bans, log, clock }),
  }
  return { bans, offences, control }
}

type Sources = Pick<BansSources, 'bans' | 'log' | 'clock'>

/** The operator's word, later than the one before it. */
function wordOf(
  network: Network,
  before: Ban | undefined,
  { kind, reason = '', forMs }: Pick<Ban, 'kind'> & { readonly reason?: string; readonly forMs: number },
  now: number,
): Ban {
  const since = Math.max(now, (before?.since ?? 0) + 1)
  return { network: network.text, kind, by: 'operator', reason, since, until: since + forMs, before: 0 }
}

const latestOf = (all: Ban[], limit: number): Latest => {
  const latest = all.sort((a, b) => b.since - a.since)
  return { total: latest.length, bans: latest.slice(0, limit) }
}

function operatorsBans(
  { bans, policy, log, clock: { now } }: Sources & Pick<BansSources, 'policy'>,
  made: (ban: Ban) => void,
): ListControl {
  return {
    latest: (limit) => latestOf(bans.list(), limit),
    add({ network: text, forMs = DEFAULT_BAN_MS, reason = '' }) {
      const network = bannable(text)
      const mistake = 'mistake' in network ? network : mayBan(network, policy().lists, bans.allowedIn(network))
      if (mistake !== undefined) return mistake
      const on = network as Network
      const ban = wordOf(on, bans.wordOn(on), { kind: 'ban', reason, forMs }, now())
      if (!bans.make(ban)) return { mistake: FULL }
      made(ban)
      return ban
    },
    remove(text) {
      const network = bannable(text)
      if ('mistake' in network) return network
      const held = bans.wordOn(network) ?? bans.before(network) ?? bans.of(network.first)
      if (held === undefined || held.kind === 'pardon' || now() >= held.until)
        return { mistake: `${network.text} is not banned: spillway bans has the list`, isAbsent: true }
      const pardon = wordOf(network, bans.wordOn(network), { kind: 'pardon', forMs: PARDON_MS }, now())
      if (!bans.make(pardon)) return { mistake: FULL }
      log.info({ network: network.text, was: held.network, by: held.by, reason: held.reason }, 'ban lifted')
      return held
    },
  }
}

/** What is allowed ends by an entry that is over at once. */
const OVER_MS = 1

function operatorsAllowed({ bans, log, clock: { now } }: Sources): ListControl {
  return {
    latest: (limit) => latestOf(bans.allowed(), limit),
    add({ network: text, forMs = DEFAULT_BAN_MS, reason = '' }) {
      const network = bannable(text, ALLOWING)
      if ('mistake' in network) return network
      const allowed = wordOf(network, bans.allowedOn(network), { kind: 'allow', reason, forMs }, now())
      if (!bans.make(allowed)) return { mistake: ALLOW_FULL }
      const until = new Date(allowed.until).toISOString()
      log.info({ network: network.text, reason, seconds: Math.round(forMs / 1000), until }, 'allowed by the operator')
      return allowed
    },
    remove(text) {
      const network = bannable(text, ALLOWING)
      if ('mistake' in network) return network
      const held = bans.allowedOn(network)
      if (held === undefined) return { mistake: notAllowed(network, bans.allowedIn(network)), isAbsent: true }
      bans.make(wordOf(network, held, { kind: 'allow', reason: held.reason, forMs: OVER_MS }, now()))
      log.info({ network: network.text, reason: held.reason }, 'no longer allowed')
      return held
    },
  }
}

const notAllowed = ({ text }: Network, other: Ban | undefined): string =>
  other === undefined
    ? `${text} is not allowed at run time: spillway allow has the list`
    : `${text} is not in the list by itself, ${other.network} is: remove that`

const FULL = 'there are 10000 bans by the operator already: lift some of them, or ban wider networks'
const ALLOW_FULL =
  'there are 10000 networks that are allowed already: remove some of them, or put them into SPILLWAY_ALLOW'

/** @param allowed an entry at run time that has an address in it @returns why the operator may not ban it */
function mayBan(whole: Network, lists: NetworkLists, allowed: Ban | undefined): BanMistake | undefined {
  const { text } = whole
  if (allowed !== undefined)
    return {
      mistake: `${text} has addresses that are allowed (${allowed.network}), which wins over bans: spillway allow remove ${allowed.network}, or ban a narrower network`,
    }
  if (overlaps(lists.proxyProtocolFrom, whole))
    return {
      mistake: `${text} has a balancer in it (SPILLWAY_PROXY_PROTOCOL_FROM), which all clients come through: ban the clients, whose addresses are in its header`,
    }
  if (overlaps(lists.allow, whole))
    return {
      mistake: `${text} has addresses that are on SPILLWAY_ALLOW, which wins over bans: take them off it, or ban a narrower network`,
    }
  if (overlaps(lists.relays, whole))
    return {
      mistake: `${text} has addresses that are on SPILLWAY_RELAYS, which are never banned: take them off it, or ban a narrower network`,
    }
  return undefined
}
