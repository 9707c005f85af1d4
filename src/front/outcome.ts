/**
 * What came of a session, told in one place: counters, one log line, and what there is to learn about the client (lesson.ts).
 * A SessionRecord is filled while the session goes on; `end` counts it when the client is gone, `tell` writes the line when the
 * upstream has said its last word as well.
 */
import { isOffence, type Offence, proves } from '../core/bans.ts'
import { type Client, isRelay, isTrusted, STANDINGS, type Standing } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import { refusalId } from '../core/id.ts'
import { isKernelReason } from '../core/kernel.ts'
import type { Refusal, Stage } from '../core/policy.ts'
import { type CheckName, REASONS } from '../core/reasons.ts'
import type { Reply } from '../relay/smtp/reply.ts'
import type { History } from '../state/history.ts'
import type { LatestMail } from '../state/latest-mail.ts'
import type { Lesson } from '../state/past.ts'
import type { RelayedMessages } from '../state/relayed-messages.ts'
import { type Log, Sampler } from '../telemetry/log.ts'
import { type Metrics, OUTCOMES, type Outcome } from '../telemetry/metrics.ts'
import { higher } from '../telemetry/observed/report.ts'
import type { ObservedTally } from '../telemetry/observed/tally.ts'
import type { Cell, Distribution } from '../telemetry/series.ts'
import type { Traffic } from '../telemetry/traffic/traffic.ts'
import type { ClientDomains } from './client-domains.ts'
import type { Evidence } from './evidence.ts'
import { countKnownRefused, type KnownRefusedOptions } from './known-refused.ts'
import { BREACH, BREACHES, isCallout, latestOf, lessonOf, NOTHING } from './lesson.ts'
import { queueIdIn } from './queue-id.ts'
import type { RecentSessions } from './recent-sessions.ts'
import { type AnsweredFrom, NO_ANSWER, sourceForLog } from './recipient-answer.ts'
import { RefusalCounts } from './refusal-counts.ts'
import { ALL_KINDS, type Kind, kindOf } from './session-kind.ts'
import { type MessageTold, SessionRecord } from './session-record.ts'
import { named, type Shown, type ShownOptions, shownBy } from './shown-address.ts'

/** Recipients, and messages, that a session's line names; the others are only counted. */
const MAX_TOLD = 20

export interface OutcomeOptions extends ShownOptions {
  readonly metrics: Metrics
  readonly log: Log
  readonly logSample: () => 'auto' | number
  readonly clock: Pick<Clock, 'elapsed'>
  /** Learns from what came of a client's messages. */
  readonly history: Pick<History, 'learn'>
  /** Knows what came lately from known clients. Absent: nobody asks. */
  readonly latest?: Pick<LatestMail, 'note'>
  /** So do the domains of clients. */
  readonly domains: Pick<ClientDomains, 'learn'>
  /** Knows the accepted messages by their ids. */
  readonly relayed: Pick<RelayedMessages, 'add'>
  /** Counts networks, HELO names and domains of recipients. */
  readonly traffic: Pick<Traffic, 'ended' | 'recipient' | 'knownRefused'>
  /** See known-refused.ts. */
  readonly isKnownAlone?: KnownRefusedOptions['isKnownAlone']
  /** Sets what checks in observe mode would have refused against what the mail servers said. */
  readonly tally: Pick<ObservedTally, 'ended'>
  /** Called once a session for each thing that the client did and no honest mail server does. */
  readonly committed: (client: Client, offence: Offence) => void
  /** Called with each message that a mail server has accepted as good. */
  readonly served: (client: Client, helo: string) => void
  /** Called once a session that hears it is banned or denied, of clients that connected themselves. */
  readonly turnedAway?: ((client: Client, refusal: Refusal) => void) | undefined
  /** Keeps the last sessions; absent: nobody asks for them. */
  readonly recent?: Pick<RecentSessions, 'note'>
}

export class Outcomes {
  readonly #metrics: Metrics
  readonly #log: Log
  readonly #sampler: Sampler<Kind>
  readonly #shown: Shown
  readonly #elapsed: Clock['elapsed']
  readonly #history: OutcomeOptions['history']
  readonly #latest: OutcomeOptions['latest']
  readonly #domains: OutcomeOptions['domains']
  readonly #relayed: OutcomeOptions['relayed']
  readonly #committed: OutcomeOptions['committed']
  readonly #served: OutcomeOptions['served']
  readonly #turnedAway: OutcomeOptions['turnedAway']
  readonly #recent: OutcomeOptions['recent']
  readonly #ofKnown: KnownRefusedOptions
  readonly #traffic: OutcomeOptions['traffic']
  readonly #tally: OutcomeOptions['tally']
  readonly #refusals: RefusalCounts
  readonly #sessions: ReadonlyMap<Outcome, ReadonlyMap<Standing, Cell>>
  readonly #connections: Readonly<{ 4: Cell; 6: Cell }>
  readonly #durations: ReadonlyMap<Outcome, Distribution>

  constructor(options: OutcomeOptions) {
    const { metrics, log, logSample, clock, history, domains, relayed, committed } = options
    this.#traffic = options.traffic
    this.#tally = options.tally
    this.#recent = options.recent
    this.#ofKnown = options
    this.#metrics = metrics
    this.#log = log
    this.#sampler = new Sampler(logSample, ALL_KINDS)
    this.#shown = shownBy(options)
    this.#elapsed = clock.elapsed
    this.#history = history
    this.#latest = options.latest
    this.#domains = domains
    this.#relayed = relayed
    this.#committed = committed
    this.#served = options.served
    this.#turnedAway = options.turnedAway
    this.#connections = { 4: metrics.connections.of('ipv4'), 6: metrics.connections.of('ipv6') }
    this.#refusals = new RefusalCounts(metrics)
    this.#sessions = new Map(
      OUTCOMES.map((outcome) => [
        outcome,
        new Map(STANDINGS.map((each) => [each, metrics.sessions.of(outcome, each)])),
      ]),
    )
    this.#durations = new Map(OUTCOMES.map((outcome) => [outcome, metrics.sessionDuration.of(outcome)]))
  }

  /** A connection was accepted. */
  begin(client: Pick<Client, 'family'>): SessionRecord {
    this.#connections[client.family].value++
    return new SessionRecord(this.#elapsed())
  }

  /** A client, a message or a recipient was turned away by us. */
  refused(record: SessionRecord, client: Client, stage: Stage, refusal: Refusal): void {
    this.#refusals.count(stage, refusal, 'enforce')
    const { reason } = refusal
    if (isOffence(reason) && record.offences?.has(reason) !== true && proves(reason, refusal.facts, record.from)) {
      record.offences ??= new Set()
      record.offences.add(reason)
      this.#committed(client, reason)
    }
    if (this.#turnedAway !== undefined && client.isDirect && !record.hasHeard && isKernelReason(reason)) {
      record.hasHeard = true
      this.#turnedAway(client, refusal)
    }
    record.refusedAt = stage
    record.refusal = refusal
    if (BREACHES.has(reason)) record.isBroken = true
    if (refusal.code < 500) record.shed = true
    else record.rejected = true
  }

  /** A check in observe mode would have turned it away. */
  observed(record: SessionRecord, stage: Stage, refusal: Refusal): void {
    this.#refusals.count(stage, refusal, 'observe')
    const { check } = REASONS[refusal.reason] as { check?: CheckName }
    record.observed ??= new Set()
    record.observed.add(check ?? refusal.reason)
    const { used, max } = refusal.facts
    if (check === undefined || typeof used !== 'number' || typeof max !== 'number') return
    record.uses ??= new Map()
    record.uses.set(check, higher(record.uses.get(check), { used, max }))
  }

  /** An upstream's reply turned a recipient or a message away. */
  refusedByUpstream(record: SessionRecord, upstream: string, reply: Reply, from: AnsweredFrom = 'upstream'): void {
    record.upstreamSaid = { upstream, reply: `${reply.code} ${reply.lines[0] ?? ''}`, ...sourceForLog(from) }
    if (reply.code < 500) record.shed = true
    else {
      record.rejected = true
      record.heardNo = true
    }
  }

  /** @param answer the mail server's; absent if it was not asked, or is not believed */
  recipient(record: SessionRecord, to: string, code: number, answer = NO_ANSWER): void {
    const { evidence, isSpared, isUnknown, from } = answer
    if (isUnknown) this.#metrics.unknownRecipients.inc(from)
    record.rcpts++
    if (code < 300) record.taken++
    if (code < 300 && isSpared) record.spared++
    if (evidence === 'bad' && !isCallout(record)) record.bad++
    this.#traffic.recipient(to, code)
    this.#metrics.recipients.inc(code < 400 ? 'accepted' : code < 500 ? 'deferred' : 'rejected')
    record.told ??= []
    if (record.told.length < MAX_TOLD) record.told.push({ to, code, ...sourceForLog(from) })
  }

  /** A transaction is over. @param evidence what the reply to DATA or to the dot says about the client */
  message(record: SessionRecord, client: Client, message: MessageTold, evidence: Evidence): void {
    const lesson = isRelay(client) ? NOTHING : lessonOf(client, message.result, evidence, record)
    const latest = isTrusted(client) || isRelay(client) ? undefined : latestOf(lesson, evidence, record)
    // As it was before this message.
    if (latest !== undefined && this.#ofKnown.isKnownAlone?.(client.ip)) this.#latest?.note(client, latest)
    this.#learn(client, lesson)
    if (lesson.good > 0 && record.helo !== undefined) this.#served(client, record.helo)
    record.taken = 0
    record.spared = 0
    record.bad = 0
    this.#metrics.messages.inc(message.result, client.standing)
    if (message.left) this.#metrics.messagesClientLeft.inc(message.result)
    record.messageCount++
    record.messages ??= []
    if (record.messages.length < MAX_TOLD) record.messages.push(message)
    record.upstreamMs += message.ms
    if (message.result === 'accepted' || message.result === 'unknown') record.mayBeDelivered = true
    if (message.result === 'accepted') {
      record.accepted = true
      const queueId = queueIdIn(message.reply)
      const countsAs = lesson.good > 0 ? 'good' : evidence === 'bad' ? 'bad' : 'nothing'
      if (queueId !== undefined) this.#relayed.add(queueId, client.ip, countsAs)
      this.#metrics.messageSize.of().observe(message.size)
    }
  }

  /** The client is gone: the session counts as ended from now on, with what has come of it so far. */
  end(record: SessionRecord, client: Client): void {
    if (record.isBroken && client.standing !== 'known' && !isRelay(client)) this.#learn(client, BREACH)
    const outcome = this.#outcomeOf(record)
    const cell = this.#sessions.get(outcome)?.get(client.standing)
    if (cell !== undefined) cell.value++
    countKnownRefused(this.#ofKnown, client, record.refusal, outcome)
    this.#traffic.ended(client, record.helo, outcome === 'shed' || outcome === 'rejected')
    this.#durations.get(outcome)?.observe((this.#elapsed() - record.begunAt) / 1000)
  }

  /**
   * Counts what checks in observe mode would have refused, and writes the session's line, unless nothing came of the session and the
   * sample passes it over.
   */
  tell(record: SessionRecord, client: Client): void {
    if (record.observed !== undefined) this.#tally.ended(client, record)
    const { refusal } = record
    const now = this.#elapsed()
    this.#recent?.note(record, client, now, this.#shown)
    const sample = record.mayBeDelivered ? 1 : this.#sampler.weight(kindOf(record, this.#outcomeOf(record)), now)
    if (sample === 0) return
    const { used, max, windowMs: window, ...facts } = refusal?.facts ?? {}
    this.#log.info(
      {
        id: refusalId(client.id, refusal?.reason),
        ip: client.ip,
        net: client.net,
        source: client.source,
        standing: client.standing,
        domain: client.domain,
        ...(isRelay(client) && { relay: true }),
        helo: record.helo,
        tls: record.tls,
        tlsError: record.tlsError,
        outcome: this.#outcomeOf(record),
        stage: record.refusedAt ?? record.stage,
        ...(refusal !== undefined && {
          reason: refusal.reason,
          code: refusal.code,
          ...(used !== undefined && { limit: { name: refusal.reason, used, max, window } }),
          ...facts,
        }),
        ...(record.upstreamSaid !== undefined && { refusedBy: record.upstreamSaid }),
        ...(record.from !== undefined && named(this.#shown, 'from', record.from)),
        ...(record.rcpts > 0 && {
          rcpts: record.told?.map(({ to, ...answer }) => ({ ...named(this.#shown, 'to', to), ...answer })),
          rcptCount: record.rcpts,
        }),
        ...(record.messageCount > 0 && { messages: record.messages, messageCount: record.messageCount }),
        ms: { total: Math.round(now - record.begunAt), upstream: record.upstreamMs },
        ...(record.observed !== undefined && { observe: [...record.observed] }),
        sample,
      },
      'session',
    )
    // Of what may be there twice, nothing else tells. If this process is killed, the line must not be lost with it.
    if (record.messages?.some(({ result }) => result === 'unknown')) this.#log.flush()
  }

  /** Lines for sessions that no line stands for yet; at shutdown. */
  flush(): void {
    for (const [kind, sample] of this.#sampler.rest()) {
      this.#log.info({ ...kind, sample }, 'sessions not logged one by one')
    }
  }

  #learn(client: Client, lesson: Lesson): void {
    const counted = this.#history.learn(client.ip, lesson)
    if (!isTrusted(client)) this.#domains.learn(client, counted)
  }

  #outcomeOf(record: SessionRecord): Outcome {
    if (record.accepted) return 'relayed'
    if (record.shed) return 'shed'
    if (record.rejected) return 'rejected'
    return record.aborted ? 'aborted' : 'none'
  }
}
