/**
 * Builds what is remembered between connections: the limits, the recipients that were accepted lately, the history of clients, and what
 * was put off. All of it is kept in this node's memory alone, or shared by all nodes through Redis.
 */
import { randomBytes } from 'node:crypto'
import { ratesOf } from '../config/limit-rules.ts'
import type { RedisAddress } from '../config/redis-kinds.ts'
import type { PlainSettings } from '../config/settings.ts'
import type { Remembered } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import type { Maximum, Rates } from '../core/limits.ts'
import type { Mode } from '../core/policy.ts'
import { type CheckName, checkOf } from '../core/reasons.ts'
import { Bans } from '../state/bans.ts'
import { BansSharing } from '../state/bans-sharing.ts'
import { CLIENTS, type History } from '../state/history.ts'
import { HistorySharing } from '../state/history-sharing.ts'
import { KeptSessions } from '../state/kept-sessions.ts'
import { createKnownRecipients, type KnownRecipients, type SharedMemory } from '../state/known-recipients.ts'
import { KnownSharing } from '../state/known-sharing.ts'
import type { LatestMail } from '../state/latest-mail.ts'
import { createLimits, type Limits, type LimitsOptions } from '../state/limits.ts'
import { NeighbourhoodsSharing } from '../state/neighbourhoods-sharing.ts'
import { OffenceNews } from '../state/offence-news.ts'
import { Passed } from '../state/passed.ts'
import { PassedSharing } from '../state/passed-sharing.ts'
import type { Past } from '../state/past.ts'
import { Points } from '../state/points.ts'
import { PointsSharing } from '../state/points-sharing.ts'
import { Questions } from '../state/questions.ts'
import { connectRedis } from '../state/redis.ts'
import type { RelayedMessages } from '../state/relayed-messages.ts'
import { Returns } from '../state/returns.ts'
import { ReturnsSharing } from '../state/returns-sharing.ts'
import { SharedAddresses } from '../state/shared-addresses.ts'
import { createSharedLimits, type SharedLimits } from '../state/shared-limits.ts'
import { TicketSharing } from '../state/ticket-sharing.ts'
import { SETS, UnknownRecipients } from '../state/unknown-recipients.ts'
import { WeekSharing } from '../state/week-sharing.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import type { Week } from '../telemetry/traffic/week.ts'
import { type BuiltHistory, buildHistory } from './history.ts'

export interface Counting {
  readonly bans: Bans
  readonly points: Points
  readonly addresses: SharedAddresses
  /** Tells of `points` and `addresses`. */
  readonly offenceNews: OffenceNews
  readonly limits: Limits
  readonly knownRecipients: KnownRecipients
  readonly unknownRecipients: UnknownRecipients
  readonly history: History
  readonly latest: LatestMail
  readonly returns: Returns
  readonly passed: Passed
  readonly relayed: RelayedMessages
  /** Sessions in Redis, for explanations; undefined if Redis is not set. */
  readonly kept: KeptSessions | undefined
  /** To other nodes, and theirs; undefined if Redis is not set. */
  readonly questions: Questions | undefined
  /** The same object as `limits`; undefined if Redis is not set. */
  readonly shared: SharedLimits | undefined
  /** Resolves when Redis has answered, or after a moment without an answer. */
  start(): Promise<void>
  /** Tells Redis what it has not heard yet, and leaves. */
  stop(): Promise<void>
}

export interface CountingOptions {
  readonly settings: PlainSettings
  /** The present mode of a check. What an observed limit would refuse is still charged to the wider limits. */
  readonly mode: (check: CheckName) => Mode
  /** As they are set now. */
  readonly ratesNow: () => Rates
  readonly maximum: Maximum
  /** What a client's own history makes of it, by the settings in force. */
  readonly standingAlone: (own: Past) => Remembered
  /** Those in force. */
  readonly settingsNow: () => Pick<
    PlainSettings,
    | 'historyTtl'
    | 'knownAfter'
    | 'overloadReturnAfter'
    | 'unknownRecipientTtl'
    | 'greetingDelay'
    | 'explainSessions'
    | 'logHmacKey'
    | 'banAfter'
  >
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** Called with the secret for TLS session tickets that all nodes have agreed on; absent: none is agreed on. */
  readonly ticketSecret?: ((secret: string) => void) | undefined
  /** How many processes this node has. With Redis there are at least so many nodes, until it has said. 1 by default. */
  readonly nodes?: number
  /** How many clients a node remembers; by default as many as history.ts has room for. */
  readonly room?: number | undefined
  /** What is normal in an hour of the week, to be kept over a restart; absent: it is not. */
  readonly week?: Week
  /** The hash of the settings in force, for other nodes to compare. */
  readonly hashNow?: () => string
  /** Whether it does what one process does for the whole node. */
  readonly isFirst?: boolean
}

/** Starts connecting to Redis if one is set; counting begins with `start()`. */
export function buildLimits(options: CountingOptions): Counting {
  const { settings, mode, ratesNow, maximum, standingAlone, settingsNow, log, clock, nodes = 1, room } = options
  const counting: LimitsOptions = {
    rates: ratesOf(settings),
    ratesNow,
    maximum,
    enforced: (limit) => mode(checkOf(limit)) === 'enforce',
    now: clock.now,
    seed: randomBytes(8),
    processes: nodes,
    ...(room !== undefined && { most: 8 * room }),
  }
  const banning = rememberOffenders(clock.now)
  const recipients = rememberRecipients(settingsNow, clock.now, room)
  const historyTtl = (): number => settingsNow().historyTtl
  const clients = buildHistory({ settings, standingAlone, historyTtl, nodes, room, log, clock, week: options.week })
  const { redisUrl } = settings
  if (redisUrl !== undefined) return sharedBy(options, redisUrl, { counting, banning, recipients, clients })
  const { history, latest, relayed } = clients
  return {
    ...{
      limits: createLimits(counting),
      ...banning,
      ...recipients,
      ...{ history, latest, relayed },
      kept: undefined,
      questions: undefined,
      shared: undefined,
    },
    async start() {
      await clients.read()
      clients.start()
    },
    stop: () => clients.stop(),
  }
}

/** What one node remembers. */
interface Alone {
  readonly counting: LimitsOptions
  readonly banning: ReturnType<typeof rememberOffenders>
  readonly recipients: ReturnType<typeof rememberRecipients>
  readonly clients: BuiltHistory
}

/** The same, shared by all nodes through Redis. */
function sharedBy(options: CountingOptions, address: RedisAddress, alone: Alone): Counting {
  const { settings, settingsNow, metrics, log, clock, ticketSecret, nodes = 1 } = options
  const { redisPrefix: prefix, redisTimeout: timeoutMs } = settings
  const { counting, banning, recipients, clients } = alone
  const { history, latest, relayed } = clients
  const link = connectRedis({ address, timeoutMs, log })
  // Two nodes may have the same name, and a node that was restarted must not pass for its predecessor.
  const node = `${settings.hostname}:${randomBytes(6).toString('hex')}`
  const shared = createSharedLimits({
    ...counting,
    ...{ link, prefix, timeoutMs, metrics, log, elapsed: clock.elapsed, expected: nodes },
    hashNow: options.hashNow,
    node,
  })
  const upSince = (): number | undefined => (shared.shared() ? shared.condition().since : undefined)
  const watched = <T>(use: RedisUse, answer: Promise<T>): Promise<T> => shared.watched(use, answer)
  const common = { client: link.client, prefix, upSince, watched, log, now: clock.now, elapsed: clock.elapsed }
  const known = new KnownSharing({ ...common, memory: recipients.knownRecipients })
  const pasts = new HistorySharing({
    ...{ ...common, history, ttlMs: () => settingsNow().historyTtl },
    ...{ knownAfter: () => settingsNow().knownAfter, isUp: () => shared.shared() },
  })
  const banned = new BansSharing({ ...common, bans: banning.bans })
  const strings = [
    new NeighbourhoodsSharing({ ...common, nets: history.nets }),
    new ReturnsSharing({ ...common, returns: recipients.returns }),
    new PassedSharing({
      ...common,
      passed: recipients.passed,
      isInUse: () => settingsNow().greetingDelay !== undefined,
    }),
    new PointsSharing({
      ...common,
      news: banning.offenceNews,
      isInUse: () => settingsNow().banAfter !== undefined,
    }),
  ]
  const kept = new KeptSessions({
    ...{ ...common, nodes: () => shared.nodes(), most: () => settingsNow().explainSessions ?? 0 },
    senderKeys: () => ({
      log: settingsNow().logHmacKey,
      agreed: known.isAgreed ? recipients.knownRecipients.secret : undefined,
    }),
  })
  const questions = new Questions({ ...common, node })
  const tickets = ticketSecret && new TicketSharing({ ...common, adopt: ticketSecret })
  const { week, isFirst = true } = options
  const ofNode = { name: settings.hostname, workers: nodes, isWriter: isFirst }
  const weeks = week === undefined ? [] : [new WeekSharing({ ...common, ...ofNode, week })]
  return {
    ...{ limits: shared, ...banning, ...recipients, history, latest, relayed, kept, questions, shared },
    async start() {
      // Before Redis is asked, so that what Redis knows counts where it is more, and is told what it has lost.
      await Promise.all([clients.read(), shared.start()])
      clients.start()
      known.start()
      for (const each of [...strings, kept, questions, ...weeks]) each.start()
      tickets?.start()
      await Promise.all([pasts.start(), banned.start()])
    },
    async stop() {
      tickets?.stop()
      await Promise.all(
        [clients, known, pasts, banned, kept, questions, ...strings, ...weeks].map((each) => each.stop()),
      )
      await shared.stop()
      await link.close()
    },
  }
}

/** What is remembered of offenders. */
function rememberOffenders(now: () => number): Pick<Counting, 'bans' | 'points' | 'addresses' | 'offenceNews'> {
  const [points, addresses] = [new Points({ now }), new SharedAddresses({ now })]
  return { bans: new Bans({ now }), points, addresses, offenceNews: new OffenceNews(points, addresses) }
}

/** What is remembered of recipients, and of messages by their recipients. */
function rememberRecipients(
  settingsNow: CountingOptions['settingsNow'],
  now: Clock['now'],
  room = CLIENTS,
): {
  readonly knownRecipients: SharedMemory
  readonly unknownRecipients: UnknownRecipients
  readonly returns: Returns
  readonly passed: Passed
} {
  const knownRecipients = createKnownRecipients({ now })
  const unknownRecipients = new UnknownRecipients({
    ttlMs: () => settingsNow().unknownRecipientTtl,
    known: knownRecipients,
    now,
    sets: Math.ceil((SETS * room) / CLIENTS),
  })
  const returns = new Returns({
    secret: () => knownRecipients.secret,
    afterMs: () => settingsNow().overloadReturnAfter,
    now,
    seed: randomBytes(8),
  })
  const passed = new Passed({ secret: () => knownRecipients.secret, now })
  return { knownRecipients, unknownRecipients, returns, passed }
}
