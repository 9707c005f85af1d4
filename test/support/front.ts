/**
 * The side of the clients, joined as src/app.ts joins it, for what a running app does not offer: to swap the policy, or to
 * put another part in the place of one.
 */

import { buildBans } from '../../src/build/bans.ts'
import { buildDns } from '../../src/build/dns.ts'
import { buildFront, type FrontOptions } from '../../src/build/front.ts'
import { buildLimits } from '../../src/build/limits.ts'
import { type BuiltPolicy, buildPolicy, inForce } from '../../src/build/policy.ts'
import { buildRelay } from '../../src/build/relay.ts'
import { networkListsOf, readingOf } from '../../src/config/reload.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { Current } from '../../src/core/current.ts'
import type { Maximum } from '../../src/core/limits.ts'
import { type ConnectionParts, serve } from '../../src/front/connection.ts'
import { Listener } from '../../src/front/gate/listener.ts'
import { RecentSessions } from '../../src/front/recent-sessions.ts'
import type { Session } from '../../src/front/session/session.ts'
import { maximum } from '../../src/overload/maximum.ts'
import { createKnownRecipients } from '../../src/state/known-recipients.ts'
import { OffenceNews } from '../../src/state/offence-news.ts'
import { Points } from '../../src/state/points.ts'
import { RelayedMessages } from '../../src/state/relayed-messages.ts'
import { Seats } from '../../src/state/seats.ts'
import { SharedAddresses } from '../../src/state/shared-addresses.ts'
import { UnknownRecipients } from '../../src/state/unknown-recipients.ts'
import type { Fields, Log } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { testSettings } from './app.ts'
import { type Client, connectClient } from './client.ts'
import { OF_PROCESS } from './of-process.ts'
import { NO_GUESSES, NO_OVERLOAD } from './overload.ts'

export interface TestFront {
  client(from?: string): Promise<Client>
  /** From now on the policy of these settings is in force. */
  swap(settings: Record<string, string>): void
  /** Sessions under way. */
  readonly live: ReadonlySet<Session>
  readonly open: () => number
  /** Lines of the log. */
  readonly lines: (Fields & { readonly level: string; readonly msg: string })[]
  stop(): Promise<void>
}

/**
 * @param change parts to put in the place of those that are built
 * @param broken what they are built from, in the place of what is right @param overload the level, instead of 0
 */
export async function startFront(
  upstreams: string,
  given: Record<string, string>,
  change: Partial<ConnectionParts> = {},
  broken: (right: FrontOptions) => FrontOptions = (right) => right,
  overload: typeof NO_OVERLOAD = NO_OVERLOAD,
): Promise<TestFront> {
  const settings = testSettings(upstreams, given)
  const lines: TestFront['lines'] = []
  const write = (level: string) => (fields: Fields, msg: string) => void lines.push({ ...fields, level, msg })
  const log: Log = {
    debug: () => undefined,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    flush: () => undefined,
  }
  const clock = SYSTEM_CLOCK
  const { now } = clock
  const metrics = createMetrics({
    ...{ version: '0', upstreams: settings.upstreams.map(({ label }) => label) },
    ofProcess: OF_PROCESS,
  })
  const common = { settings, metrics, log, clock, now }
  const ratesNow = () => policy.rates()
  const maximumNow: Maximum = (limit, { standing }) =>
    maximum(limit, standing, overload.enforced, policy.rates(), policy.factors())
  const { limits, history, latest, bans, passed } = buildLimits({
    ...common,
    mode: (check) => policy.mode(check),
    ratesNow,
    maximum: maximumNow,
    standingAlone: (own) => policy.standingAlone(own),
    settingsNow: () => policy.settings,
    room: 1 << 12,
  })
  const { nameOf, domains, dnsLists } = buildDns({
    ...common,
    history,
    room: 1 << 12,
    settingsNow: () => policy.settings,
  })
  const relay = buildRelay({
    ...common,
    nameOf,
    overload: () => ({ reserve: 0, enforced: 0 }),
    reading: readingOf({ settings, warnings: [] }),
  })
  const offeredSize = (): number => Number(relay.upstreams.offer?.get('SIZE') ?? 0)
  const built = (of: Record<string, string>): BuiltPolicy => {
    const settings = testSettings(upstreams, of)
    return buildPolicy({
      settings,
      lists: networkListsOf(settings),
      certificates: undefined,
      limits,
      overload,
      ...{ history, latest },
      bans,
      dnsLists,
      offeredSize,
      metrics,
      log,
    })
  }
  const policyInForce = new Current(built(given))
  const policy: BuiltPolicy = inForce(policyInForce)
  const live = new Set<Session>()
  const seats = new Seats()
  const knownRecipients = createKnownRecipients({ now })
  const unknownRecipients = new UnknownRecipients({ ttlMs: () => undefined, known: knownRecipients, now, sets: 1 })
  const relayed = new RelayedMessages(64, now)
  const [points, addresses] = [new Points({ now }), new SharedAddresses({ now })]
  const offenders = { bans, points, addresses, offenceNews: new OffenceNews(points, addresses) }
  const banning = buildBans({ ...common, ...offenders, history, policy: () => policy })
  const right = {
    ...common,
    banning,
    kernel: { turnedAway: undefined },
    node: 1,
    policy,
    limits,
    overload,
    guesses: NO_GUESSES,
    knownRecipients,
    unknownRecipients,
    ...{ history, latest },
    domains,
    dnsLists,
    relayed,
    passed,
    relay,
    seats,
    live,
    traffic: { ended: () => undefined, recipient: () => undefined, knownRefused: () => undefined },
    tally: { ended: () => undefined },
    recent: new RecentSessions({ host: 'mx.test.example', seed: 1 }),
  }
  const front = { ...buildFront(broken(right)), ...change }
  const listener = new Listener(
    (socket) => void serve(socket, front),
    (error) => log.error({}, error.message),
  )
  await relay.upstreams.start()
  const [bound] = await listener.listen(settings.listen)
  const clients: Client[] = []
  return {
    async client(from) {
      const client = await connectClient(bound?.port as number, from === undefined ? {} : { from })
      clients.push(client)
      return client
    },
    swap: (next) => policyInForce.swap(built(next)),
    live,
    open: () => seats.total,
    lines,
    async stop() {
      for (const client of clients) client.destroy()
      listener.close()
      for (const session of live) session.cut()
      relay.upstreams.stop()
      front.linger.stop()
    },
  }
}
