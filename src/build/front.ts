/** Builds the side that faces the clients: what serve() in front/connection.ts needs from accept to the log line. */
import { randomBytes, randomInt } from 'node:crypto'
import { isFriend, isTrusted } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import { sessionIds } from '../core/id.ts'
import type { DnsLists } from '../dns/lists.ts'
import type { ClientDomains } from '../front/client-domains.ts'
import type { ConnectionParts } from '../front/connection.ts'
import { BalancerWarnings } from '../front/gate/balancer-warnings.ts'
import { createGreeting, type Greeting } from '../front/gate/greeting.ts'
import { createIdentify } from '../front/gate/identify.ts'
import { Linger, MAX_LINGERING } from '../front/gate/linger.ts'
import { NatWatch } from '../front/gate/nat-watch.ts'
import { Outcomes } from '../front/outcome.ts'
import type { RecentSessions } from '../front/recent-sessions.ts'
import type { ConversationParts } from '../front/session/context.ts'
import { Handshakes } from '../front/session/handshakes.ts'
import { Sessions } from '../front/session/session.ts'
import { delayAt } from '../overload/levels.ts'
import type { Overload } from '../overload/overload.ts'
import { strangersMost } from '../overload/reserve.ts'
import { hasDoubtfulNeighbours } from '../overload/standing.ts'
import type { RelayParts } from '../relay/transaction/relay.ts'
import { HeloCrowds } from '../state/helo-crowds.ts'
import type { History } from '../state/history.ts'
import type { KnownRecipients } from '../state/known-recipients.ts'
import type { LatestMail } from '../state/latest-mail.ts'
import type { Limits } from '../state/limits.ts'
import type { Passed } from '../state/passed.ts'
import type { RelayedMessages } from '../state/relayed-messages.ts'
import type { Seats } from '../state/seats.ts'
import type { UnknownRecipients } from '../state/unknown-recipients.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { ObservedTally } from '../telemetry/observed/tally.ts'
import type { Traffic } from '../telemetry/traffic/traffic.ts'
import type { BuiltBans } from './bans.ts'
import type { BuiltKernel } from './kernel.ts'
import type { BuiltPolicy } from './policy.ts'
import { tellingOfTurned } from './turned-log.ts'

export interface FrontOptions {
  /** This node's number in the ids of sessions. */
  readonly node: number
  /** If the policy may be swapped, the one that inForce() returns. */
  readonly policy: BuiltPolicy
  readonly banning: BuiltBans
  readonly kernel: Pick<BuiltKernel, 'turnedAway'>
  readonly limits: Limits
  readonly overload: Pick<
    Overload,
    'level' | 'atMail' | 'atRcpt' | 'keysOfPutOff' | 'left' | 'met' | 'reserve' | 'enforced'
  >
  readonly guesses: ConversationParts['guesses']
  readonly knownRecipients: KnownRecipients
  readonly unknownRecipients: UnknownRecipients
  readonly history: History
  readonly latest: LatestMail
  readonly domains: ClientDomains
  readonly dnsLists: Pick<DnsLists, 'ask'>
  readonly relayed: RelayedMessages
  readonly passed: Pick<Passed, 'has' | 'note'>
  readonly relay: RelayParts
  readonly seats: Seats
  readonly live: ConnectionParts['live']
  readonly metrics: Metrics
  readonly traffic: Pick<Traffic, 'ended' | 'recipient' | 'knownRefused'>
  readonly tally: Pick<ObservedTally, 'ended'>
  readonly recent: RecentSessions
  readonly log: Log
  readonly clock: Clock
}

export function buildFront(options: FrontOptions): ConnectionParts {
  const { policy, limits, domains, seats, metrics, log, clock } = options
  const { voice } = policy
  const { offences } = options.banning
  const warnings = new BalancerWarnings(log, clock.elapsed)
  const outcomes = new Outcomes({
    metrics,
    log,
    logSample: () => policy.settings.logSample,
    localParts: () => policy.settings.logLocalParts,
    hmacKey: () => policy.settings.logHmacKey,
    clock,
    ...{
      history: options.history,
      domains,
      relayed: options.relayed,
      traffic: options.traffic,
    },
    latest: tellingOfTurned(options.latest, log, clock.elapsed),
    tally: options.tally,
    committed: (client, offence) => offences.committed(client, offence),
    served: (client, helo) => offences.served(client, helo),
    turnedAway: options.kernel.turnedAway,
    recent: options.recent,
    isKnownAlone: (ip) => policy.standingAlone(options.history.own(ip)) === 'known',
  })
  const sessions = new Sessions({
    conversation: conversationOf(options, outcomes),
    rules: (client) => policy.rulesFor(client),
    handshakes: new Handshakes({ places: () => policy.settings.tlsHandshakes, elapsed: clock.elapsed }),
    foreignHeader: (ip) => warnings.unlisted(ip),
    metrics,
    log,
    elapsed: clock.elapsed,
  })
  return {
    identify: createIdentify({
      isBalancer: policy.isBalancer,
      standingOf(address) {
        offences.met(address)
        return options.overload.met(policy.standingOf(address))
      },
      countedAs: (address) => policy.countedAs(address),
      domainOf: (ip) => domains.of(ip),
      isRelay: (ip) => policy.isRelay(ip),
      newId: sessionIds(options.node, randomInt(1 << 15)),
      now: clock.now,
      metrics,
      warnings,
    }),
    seats,
    maxConnections: () => policy.settings.maxConnections,
    strangersMost: () => strangersMost(policy.settings.maxConnections, options.overload.reserve),
    limits,
    checks: () => policy.checks,
    greeting: greetingOf(options),
    asking: [domains, options.dnsLists],
    sessions,
    outcomes,
    voice,
    // Refused clients that have not closed yet are open files in addition to MAX_CONNECTIONS.
    linger: new Linger(() => Math.min(MAX_LINGERING, Math.max(16, Math.floor(policy.settings.maxConnections / 4)))),
    natWatch: new NatWatch(log, clock.elapsed),
    warnings,
    log,
    live: options.live,
  }
}

/** What all sessions share; settings are those in force at each use. */
function conversationOf(options: FrontOptions, outcomes: Outcomes): ConversationParts {
  const { policy, limits, overload, guesses, knownRecipients, unknownRecipients, relay } = options
  const { maxSize, voice } = policy
  return {
    get checks() {
      return policy.checks
    },
    bans: options.banning.bans,
    hasDoubtfulNeighbours: (ip) => hasDoubtfulNeighbours(options.history.net(ip)),
    heloCrowds: heloCrowdsOf(options),
    ...{ limits, overload, guesses, knownRecipients, unknownRecipients, relay, outcomes, voice, maxSize },
    get unknownGuard() {
      return policy.settings.unknownGuard
    },
    get badReply() {
      return policy.settings.historyBadReply
    },
    get sizeMode() {
      return policy.mode('size')
    },
  }
}

function greetingOf({ policy, overload, passed }: FrontOptions): Greeting {
  return createGreeting({
    listensTo: (client) => policy.settings.pregreet !== 'off' && !isTrusted(client),
    delayMs: (client) => {
      const { greetingDelay } = policy.settings
      if (greetingDelay === undefined || isFriend(client) || passed.has('greeting', client.source)) return 0
      return delayAt(overload.enforced, greetingDelay)
    },
    passed: ({ source }) => passed.note('greeting', source),
  })
}

const heloCrowdsOf = ({ policy, clock }: FrontOptions): HeloCrowds =>
  new HeloCrowds({ isInUse: () => policy.settings.helo !== 'off', now: clock.now, seed: randomBytes(8) })
