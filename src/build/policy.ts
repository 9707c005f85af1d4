/**
 * Builds the policy: the operator's lists, the checks and their modes, the limits, and what refused clients are told,
 * compiled from the settings into one immutable value. A new policy replaces the old one as a whole while sessions go
 * on (core/current.ts). Code that judges reads the policy in force each time and keeps no part of it.
 */
import { policy } from '../checks/index.ts'
import { createRunner, modeOf, type Runner } from '../checks/runner.ts'
import { ratesOf } from '../config/limit-rules.ts'
import type { NetworkLists } from '../config/reload.ts'
import type { PlainSettings } from '../config/settings.ts'
import type { Ban } from '../core/bans.ts'
import { type Client, isRelay, type Remembered, type Standing } from '../core/client.ts'
import type { Current } from '../core/current.ts'
import { isLoopback, lookup, netOf } from '../core/ip.ts'
import type { Sentence } from '../core/kernel.ts'
import type { Rates } from '../core/limits.ts'
import type { Level } from '../core/overload.ts'
import type { Mode } from '../core/policy.ts'
import type { CheckName } from '../core/reasons.ts'
import { coversSource, touchesSource } from '../core/source-table.ts'
import type { DnsLists } from '../dns/lists.ts'
import type { Certificates } from '../front/certificates.ts'
import { createVoice, type Voice } from '../front/reply.ts'
import type { SessionRules } from '../front/session/session.ts'
import { isRefusedAtBanner } from '../overload/levels.ts'
import { type Factors, perClient } from '../overload/maximum.ts'
import type { Overload } from '../overload/overload.ts'
import {
  type ClientAddress,
  type DecidedBy,
  decidedBy,
  type Evidence,
  type Needs,
  STANDING_BY,
  sharesLimits,
  standingAlone,
} from '../overload/standing.ts'
import type { Bans } from '../state/bans.ts'
import type { History } from '../state/history.ts'
import { type LatestMail, NO_LATEST } from '../state/latest-mail.ts'
import type { Limits } from '../state/limits.ts'
import { NO_PAST, type Past } from '../state/past.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface BuiltPolicy {
  /** All settings that are in force. Where a part of them is compiled below, that is what is asked. */
  readonly settings: PlainSettings
  readonly lists: NetworkLists
  readonly checks: Runner
  readonly mode: (check: CheckName) => Mode
  /** The most octets that a message may have; undefined if there is no limit. */
  readonly maxSize: () => number | undefined
  readonly standingOf: (address: ClientAddress) => Standing
  /** Which evidence decides that. */
  readonly decidedBy: (address: ClientAddress) => DecidedBy
  /** The key of its limits, where that is not its source. */
  readonly countedAs: (address: ClientAddress) => string | undefined
  /** The ban that a client is turned away for, if the check is enforced. */
  readonly banOf: BanOf
  /** Whether it is on SPILLWAY_RELAYS, and not allowed. */
  readonly isRelay: (ip: string) => boolean
  /** What a client's own history alone makes of it. */
  readonly standingAlone: (own: Past) => Remembered
  readonly isBalancer: (ip: string) => boolean
  /** Why all connections of a source (a /64 as a whole) are turned away; undefined: some are not, or it has a balancer in it. */
  readonly sentenceOf: (source: string) => Sentence | undefined
  /** Of the limits that count over time. */
  readonly rates: () => Rates
  /** By what the limits of a client differ from those that are set. */
  readonly factors: () => Factors
  readonly voice: Voice
  /** What sessions keep to that begin now, while nothing is overloaded. */
  readonly rules: SessionRules
  /** The same at the present level of overload. */
  readonly rulesFor: (client: Client) => SessionRules
  /** What clients are shown; undefined: STARTTLS is not offered. They follow their files by themselves. */
  readonly certificates: Certificates | undefined
}

export interface PolicySources {
  readonly settings: PlainSettings
  readonly lists: NetworkLists
  readonly certificates: Certificates | undefined
  readonly limits: Pick<Limits, 'lately'>
  readonly overload: Pick<Overload, 'enforced' | 'atBanner' | 'idleMs'>
  /** The SIZE that every mail server in use offers; 0 if none of them has a limit. */
  readonly offeredSize: () => number
  readonly history: Pick<History, 'own' | 'net' | 'domains'>
  readonly latest: Pick<LatestMail, 'of'>
  readonly bans: Pick<Bans, 'of' | 'isAllowed'>
  readonly dnsLists: Pick<DnsLists, 'scoreOf'>
  readonly metrics: Metrics
  readonly log: Log
}

/** A policy that asks the policy in force for each answer, so that no answer is older than the last swap. */
export const inForce = (current: Current<BuiltPolicy>): BuiltPolicy => ({
  get settings() {
    return current.value.settings
  },
  get lists() {
    return current.value.lists
  },
  get checks() {
    return current.value.checks
  },
  mode: (check) => current.value.mode(check),
  maxSize: () => current.value.maxSize(),
  standingOf: (address) => current.value.standingOf(address),
  decidedBy: (address) => current.value.decidedBy(address),
  countedAs: (address) => current.value.countedAs(address),
  banOf: (client) => current.value.banOf(client),
  isRelay: (ip) => current.value.isRelay(ip),
  standingAlone: (own) => current.value.standingAlone(own),
  isBalancer: (ip) => current.value.isBalancer(ip),
  sentenceOf: (source) => current.value.sentenceOf(source),
  rates: () => current.value.rates(),
  factors: () => current.value.factors(),
  voice: {
    hostname: current.value.voice.hostname,
    refusal: (client, refusal) => current.value.voice.refusal(client, refusal),
    relayed: (client, reply, options) => current.value.voice.relayed(client, reply, options),
  },
  get rules() {
    return current.value.rules
  },
  rulesFor: (client) => current.value.rulesFor(client),
  get certificates() {
    return current.value.certificates
  },
})

const needsOf = ({ knownAfter, knownDays }: PlainSettings): Needs => ({ after: knownAfter, days: knownDays })

type BanOf = (client: Pick<Client, 'ip' | 'standing'>) => Ban | undefined

function standings(
  { settings, lists, history, latest, bans }: PolicySources,
  mode: BuiltPolicy['mode'],
): Pick<BuiltPolicy, 'standingOf' | 'decidedBy' | 'countedAs' | 'isRelay' | 'banOf'> {
  const needs = needsOf(settings)
  const isOnList = lookup(lists.allow)
  const isAllowed = (ip: string): boolean => isOnList(ip) || bans.isAllowed(ip)
  const isAmongRelays = lookup(lists.relays)
  /** Of a client that is allowed, by its setting or at run time, or is on the list of relays, nothing else is asked. */
  const evidenceOf = (address: ClientAddress, lately = latest.of(address)): Evidence => {
    const { ip, domain: name } = address
    const is = { isAllowed: isAllowed(ip), isRelay: isAmongRelays(ip) }
    if (is.isAllowed || is.isRelay) return { ...is, own: NO_PAST, net: NO_PAST }
    // Who is only observed is to us what it would be without the check.
    const banned = mode('banned') === 'enforce' ? bans.of(ip)?.by : undefined
    // The operator's word comes before all history, which nobody needs then.
    if (banned === 'operator') return { ...is, banned, own: NO_PAST, net: NO_PAST }
    const domain = name === undefined ? undefined : history.domains.of(name)
    const known = { own: history.own(ip), net: history.net(ip), domain, latest: lately }
    return { ...is, banned, ...known }
  }
  const decided: BuiltPolicy['decidedBy'] = (address) => decidedBy(evidenceOf(address), needs)
  return {
    decidedBy: decided,
    standingOf: (address) => STANDING_BY[decided(address)],
    countedAs(address) {
      const lately = latest.of(address)
      return lately !== NO_LATEST && sharesLimits(evidenceOf(address, lately), needs) ? address.net : undefined
    },
    banOf({ ip, standing }) {
      const ban = bans.of(ip)
      if (ban === undefined || isAllowed(ip) || isAmongRelays(ip)) return undefined
      return ban.by === 'automatic' && standing === 'known' ? undefined : ban
    },
    isRelay: (ip) => isAmongRelays(ip) && !isAllowed(ip),
  }
}

/** The checks that have a mode of their own, and the settings that have it. */
const OWN_MODES = {
  tongue: 'tongue',
  pregreet: 'pregreet',
  pipelining: 'pipelining',
  'command-newline': 'commandNewline',
  helo: 'helo',
  dnsbl: 'dnsbl',
} as const satisfies Partial<Record<CheckName, keyof PlainSettings>>

interface SentenceParts extends Pick<BuiltPolicy, 'standingOf'> {
  readonly banOf: BanOf
  /** Whether the operator allows it at run time. */
  readonly isAllowed: (ip: string) => boolean
}

function sentences(
  { lists }: Pick<PolicySources, 'lists'>,
  mode: BuiltPolicy['mode'],
  { standingOf, banOf, isAllowed }: SentenceParts,
): BuiltPolicy['sentenceOf'] {
  const spared = [lists.allow, lists.relays, lists.proxyProtocolFrom]
  return (source) => {
    const [ip = ''] = source.split('/')
    if (isLoopback(ip) || isAllowed(ip) || spared.some((list) => touchesSource(list, ip))) return undefined
    if (mode('denied') === 'enforce' && coversSource(lists.deny, ip))
      return { reason: 'denied', until: Number.POSITIVE_INFINITY }
    if (mode('banned') !== 'enforce') return undefined
    const ban = banOf({ ip, standing: standingOf({ ip, source, net: netOf(ip) }) })
    return ban && { reason: 'banned', until: ban.until }
  }
}

/** Whether its own setting says so. */
const isObserved = (name: CheckName, settings: PlainSettings): boolean => {
  const setting = (OWN_MODES as Partial<Record<CheckName, keyof PlainSettings>>)[name]
  return setting !== undefined && settings[setting] === 'observe'
}

/** Whether a check enforces or observes, by these settings. */
export const modeIn =
  (settings: PlainSettings) =>
  (name: CheckName): Mode =>
    isObserved(name, settings) ? 'observe' : modeOf(name, settings.observe)

/** How many connections a client's source may have open; undefined: no limit. */
function concurrencyOf(client: Client, settings: PlainSettings, level: Level, factors: Factors): number | undefined {
  const { limitIpConcurrency: max } = settings
  return max === undefined || isRelay(client) ? undefined : perClient(max, client.standing, level, factors)
}

export function buildPolicy(sources: PolicySources): BuiltPolicy {
  const { settings, lists, certificates, limits, overload, offeredSize, dnsLists, metrics, log } = sources
  const needs = needsOf(settings)
  const isOnDenyList = lookup(lists.deny)
  const maxSize = (): number | undefined => {
    const offered = offeredSize()
    const set = settings.messageMaxSize === 'upstream' ? 0 : settings.messageMaxSize
    return offered > 0 && set > 0 ? Math.min(offered, set) : offered > 0 ? offered : set > 0 ? set : undefined
  }
  const mode = modeIn(settings)
  const who = standings(sources, mode)
  const { banOf } = who
  const rates = ratesOf(settings)
  const factors = { known: settings.limitKnownFactor, stress: settings.limitStressFactor }
  const checks = createRunner({
    policy: policy({
      isDenied: (ip) => isOnDenyList(ip) && !who.isRelay(ip),
      banOf,
      denyStage: settings.denyStage,
      concurrency: (client) => concurrencyOf(client, settings, overload.enforced, factors),
      overloaded: (client, open) => overload.atBanner(client, open),
      ...{ tongue: settings.tongue, pregreet: settings.pregreet, pipelining: settings.pipelining },
      ...{ commandNewline: settings.commandNewline, helo: settings.helo },
      hostname: settings.hostname,
      domains: settings.rcptDomains,
      recipientsPerMessage: settings.limitRecipientsPerMessage,
      dnsbl: {
        scoreOf: (client) => dnsLists.scoreOf(client),
        ...{ threshold: settings.dnsblThreshold, rejects: settings.dnsbl === 'reject' },
        isPressed: () => mode('dnsbl') === 'enforce' && isRefusedAtBanner(overload.enforced, 'suspect'),
      },
      unknownLately: (client, limit) => (isRelay(client) ? undefined : limits.lately(client, limit)),
    }),
    mode,
    metrics,
    log,
  })
  const rules: SessionRules = {
    idleMs: settings.idleTimeout,
    minDataRate: settings.minDataRate,
    sessionMs: settings.sessionMaxTime,
    maxMessages: settings.sessionMaxMessages,
    tls: certificates?.current,
  }
  return {
    settings,
    lists,
    checks,
    mode,
    maxSize,
    ...who,
    standingAlone: (own) => standingAlone(own, needs),
    isBalancer: lookup(lists.proxyProtocolFrom),
    sentenceOf: sentences(sources, mode, { ...who, isAllowed: (ip) => sources.bans.isAllowed(ip) }),
    rates: () => rates,
    factors: () => factors,
    voice: createVoice(settings.hostname, settings.supportUrl, settings.replyText),
    rules,
    rulesFor: (client) => {
      const idleMs = overload.idleMs(client, rules.idleMs)
      return idleMs === rules.idleMs ? rules : { ...rules, idleMs }
    },
    certificates,
  }
}
