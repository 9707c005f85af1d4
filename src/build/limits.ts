/**
 * Builds what is remembered between connections: the limits, the recipients that were accepted lately, the history of clients, and what
 * was put off. All of it is kept in this node's memory alone, or shared by all nodes through Redis.
 */
import { randomBytes } from 'node:crypto'
import { ratesOf } from '../config/limit-rules.ts'
import type { PlainSettings } from '../config/settings.ts'
import type { Remembered } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import type { Maximum, Rates } from '../core/limits.ts'
import type { Mode } from '../core/policy.ts'
import { type CheckName, checkOf } from '../core/reasons.ts'
import type { History } from '../state/history.ts'
import { HistorySharing } from '../state/history-sharing.ts'
import { createKnownRecipients, type KnownRecipients } from '../state/known-recipients.ts'
import { KnownSharing } from '../state/known-sharing.ts'
import { createLimits, type Limits, type LimitsOptions } from '../state/limits.ts'
import { Passed } from '../state/passed.ts'
import { PassedSharing } from '../state/passed-sharing.ts'
import type { Past } from '../state/past.ts'
import { connectRedis } from '../state/redis.ts'
import type { RelayedMessages } from '../state/relayed-messages.ts'
import { Returns } from '../state/returns.ts'
import { ReturnsSharing } from '../state/returns-sharing.ts'
import { createSharedLimits, type SharedLimits } from '../state/shared-limits.ts'
import { TicketSharing } from '../state/ticket-sharing.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import { buildHistory } from './history.ts'

export interface Counting {
  readonly limits: Limits
  readonly knownRecipients: KnownRecipients
  readonly history: History
  readonly returns: Returns
  readonly passed: Passed
  readonly relayed: RelayedMessages
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
  readonly settingsNow: () => Pick<PlainSettings, 'historyTtl' | 'knownAfter' | 'overloadReturnAfter' | 'greetingDelay'>
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** Called with the secret for TLS session tickets that all nodes have agreed on; absent: none is agreed on. */
  readonly ticketSecret?: ((secret: string) => void) | undefined
  /** How many nodes there are at least, until Redis has said; 1 by default. */
  readonly nodes?: number
  /** How many clients a node remembers; by default as many as history.ts has room for. */
  readonly room?: number | undefined
}

/** Starts connecting to Redis if one is set; counting begins with `start()`. */
export function buildLimits({
  settings,
  mode,
  ratesNow,
  maximum,
  standingAlone,
  settingsNow,
  metrics,
  log,
  clock,
  ticketSecret,
  nodes = 1,
  room,
}: CountingOptions): Counting {
  const counting: LimitsOptions = {
    rates: ratesOf(settings),
    ratesNow,
    maximum,
    enforced: (limit) => mode(checkOf(limit)) === 'enforce',
    now: clock.now,
    seed: randomBytes(8),
  }
  const knownRecipients = createKnownRecipients({ now: clock.now })
  const returns = new Returns({
    secret: () => knownRecipients.secret,
    afterMs: () => settingsNow().overloadReturnAfter,
    now: clock.now,
    seed: randomBytes(8),
  })
  const passed = new Passed({ secret: () => knownRecipients.secret, now: clock.now })
  const historyTtl = (): number => settingsNow().historyTtl
  const built = buildHistory({ settings, standingAlone, historyTtl, nodes, room, log, clock })
  const { history, relayed } = built
  if (settings.redisUrl === undefined) {
    return {
      ...{ limits: createLimits(counting), knownRecipients, history, returns, passed, relayed, shared: undefined },
      async start() {
        await built.read()
        built.start()
      },
      stop: () => built.stop(),
    }
  }
  const { redisPrefix: prefix, redisTimeout: timeoutMs } = settings
  const link = connectRedis({ address: settings.redisUrl, timeoutMs, log })
  const shared = createSharedLimits({
    ...counting,
    ...{ link, prefix, timeoutMs, metrics, log, elapsed: clock.elapsed, expected: nodes },
    // Two nodes may have the same name, and a node that was restarted must not pass for its predecessor.
    node: `${settings.hostname}:${randomBytes(6).toString('hex')}`,
  })
  const upSince = (): number | undefined => (shared.shared() ? shared.condition().since : undefined)
  const watched = <T>(use: RedisUse, answer: Promise<T>): Promise<T> => shared.watched(use, answer)
  const common = { client: link.client, prefix, upSince, watched, log, now: clock.now, elapsed: clock.elapsed }
  const sharing = new KnownSharing({ ...common, memory: knownRecipients })
  const clients = new HistorySharing({
    ...{ ...common, history, ttlMs: historyTtl },
    ...{ knownAfter: () => settingsNow().knownAfter, isUp: () => shared.shared() },
  })
  const strings = [
    new ReturnsSharing({ ...common, returns }),
    new PassedSharing({ ...common, passed, isInUse: () => settingsNow().greetingDelay !== undefined }),
  ]
  const tickets = ticketSecret && new TicketSharing({ ...common, adopt: ticketSecret })
  return {
    ...{ limits: shared, knownRecipients, history, returns, passed, relayed, shared },
    async start() {
      // Before Redis is asked, so that what Redis knows counts where it is more, and is told what it has lost.
      await Promise.all([built.read(), shared.start()])
      built.start()
      sharing.start()
      for (const each of strings) each.start()
      tickets?.start()
      await clients.start()
    },
    async stop() {
      tickets?.stop()
      await Promise.all([built.stop(), sharing.stop(), clients.stop(), ...strings.map((each) => each.stop())])
      await shared.stop()
      await link.close()
    },
  }
}
