/**
 * Replays sessions against limits and lists, with the limiter that serves (state/), in memory, by the time of the log. A session is
 * charged at its beginning, and its messages and recipients at its end: when within the session they came, the log does not say.
 */
import { randomBytes } from 'node:crypto'
import { type Client, isFriend, isRelay, isTrusted } from '../../core/client.ts'
import {
  LIMIT_NAMES,
  LIMITS,
  type LimitName,
  type Rate,
  type Rates,
  UNKNOWN_LIMITS,
  type UnknownLimit,
} from '../../core/limits.ts'
import { recordOf } from '../../core/record.ts'
import type { RecentRecipients, Usage } from '../../core/usage.ts'
import { type Factors, maximum, perClient } from '../../overload/maximum.ts'
import { HARVEST_SHARE, isGuessing } from '../../state/harvest.ts'
import { createLimits, type Limits } from '../../state/limits.ts'
import { type Seat, Seats } from '../../state/seats.ts'
import { Schedule } from './merge.ts'
import { clientOf, isSession, type SessionSeen, type Uncounted } from './session-line.ts'
import { Peak, Tally } from './tally.ts'

export const RULES = ['denied', 'ip_concurrency', ...LIMIT_NAMES, 'rcpt_domain'] as const
export type RuleName = (typeof RULES)[number]

export interface ReplayRules {
  readonly rates: Rates
  /** SPILLWAY_LIMIT_IP_CONCURRENCY; undefined: off. */
  readonly concurrency: number | undefined
  readonly factors: Factors
  readonly isDenied: (ip: string) => boolean
  /** Undefined: the list was not given, and the log tells who is on it. */
  readonly isAllowed: ((ip: string) => boolean) | undefined
  readonly isRelay: ((ip: string) => boolean) | undefined
  /** In lower case; empty: the mail servers decide. */
  readonly domains: readonly string[]
}

/** Where a limit is off, its use is measured over a minute. */
const USUAL_WINDOW_MS = 60_000
/** No use comes near it. */
const NO_MAXIMUM = 0x7fff0000
/** Whoever a sampled line stands for besides the one that it names. */
const NOBODY = clientOf('192.0.2.1', 'new', false)
const LEVEL = 0

export class Replay {
  readonly #rules: ReplayRules
  readonly #limits: Limits
  /** The same windows without a maximum: how much of each limit is used. */
  readonly #uses: Limits
  readonly #seats = new Seats()
  readonly #useSeats = new Seats()
  readonly #schedule = new Schedule()
  readonly tallies = recordOf(RULES, () => new Tally())
  readonly peaks = recordOf(RULES, () => new Peak())
  /** Sessions that the log shows as refused by the same rule at the gate, and that are let in now. */
  readonly letIn = recordOf(RULES, () => ({ sessions: 0 }))
  /** Sessions with a line, those of them that stand for more, and those without a line. */
  readonly seen = { sessions: 0, accepted: 0, sampled: 0, unnamed: 0, from: Infinity, to: -Infinity }
  /** Numbers the mailboxes that recipients stand for. */
  #mailbox = 0

  constructor(rules: ReplayRules) {
    this.#rules = rules
    const { rates, factors } = rules
    const now = (): number => this.#schedule.now
    const enforced = (): boolean => true
    const seed = randomBytes(8)
    this.#limits = createLimits({
      ...{ rates, now, enforced, seed },
      maximum: (limit, { standing }) => maximum(limit, standing, LEVEL, rates, factors),
    })
    const unbounded = recordOf(
      LIMIT_NAMES,
      (limit): Rate => ({ max: NO_MAXIMUM, windowMs: rates[limit]?.windowMs ?? USUAL_WINDOW_MS }),
    )
    this.#uses = createLimits({ rates: unbounded, now, enforced, seed })
  }

  add(seen: SessionSeen | Uncounted): void {
    this.seen.to = Math.max(this.seen.to, seen.ended)
    if (!isSession(seen)) {
      this.seen.unnamed += seen.sample
      this.#schedule.reach(seen.ended)
      return
    }
    const session = { ...seen, client: this.#asListed(seen.client) }
    this.seen.from = Math.min(this.seen.from, seen.begun)
    this.seen.sessions++
    if (seen.accepted > 0) this.seen.accepted++
    if (seen.sample > 1) this.seen.sampled++
    this.seen.unnamed += seen.sample - 1
    this.#schedule.add(seen.begun, () => this.#begin(session))
    this.#schedule.reach(seen.ended)
  }

  finish(): void {
    this.#schedule.finish()
  }

  /** Lists that were given decide; of others the log tells. */
  #asListed(client: Client): Client {
    const { isAllowed, isRelay: isListed } = this.#rules
    const isTrustedNow = isAllowed === undefined ? isTrusted(client) : isAllowed(client.ip)
    const isRelayNow = !isTrustedNow && (isListed === undefined ? isRelay(client) : isListed(client.ip))
    // What somebody is who was on the allow list, the log does not say.
    const other = isTrusted(client) ? 'seen' : client.standing
    return { ...client, standing: isTrustedNow ? 'trusted' : other, isRelay: isRelayNow }
  }

  #begin(session: SessionSeen): void {
    const { client } = session
    const used = this.#useAtGate(session)
    const held = this.#seats.take(client)
    const rule = this.#refusedAtGate(session, held)
    if (rule !== undefined) {
      held.free()
      this.tallies[rule].session(session, session.accepted)
    } else if (RULES.some((each) => each === session.reason)) this.letIn[session.reason as RuleName].sessions++
    this.#others(session.sample - 1)
    this.#schedule.add(Math.max(session.ended, this.#schedule.now), () => {
      used.free()
      if (rule !== undefined) return
      this.#messages(session)
      held.free()
    })
  }

  #refusedAtGate({ client }: SessionSeen, { open }: Seat): RuleName | undefined {
    const { isDenied, concurrency, factors } = this.#rules
    if (isTrusted(client)) return undefined
    if (isDenied(client.ip)) return 'denied'
    if (concurrency !== undefined && !isRelay(client)) {
      if (open.source > perClient(concurrency, client.standing, LEVEL, factors)) return 'ip_concurrency'
    }
    return overIn(this.#limits.take('connect', client))
  }

  /** Of sessions that a line stands for besides its own only what all clients share can be replayed. */
  #others(count: number): void {
    if (this.#rules.rates.global_connections === undefined) return
    for (let i = 0; i < count; i++) {
      const rule = overIn(this.#limits.take('connect', NOBODY, 'everybody'))
      if (rule !== undefined) this.tallies[rule].unnamed++
    }
  }

  #messages(session: SessionSeen): void {
    const { client, messages, recipients } = session
    const count = Math.max(messages, recipients > 0 ? 1 : 0)
    const each = Math.max(1, Math.round(recipients / Math.max(1, count)))
    const shed = new Map<RuleName, number>()
    const add = (rule: RuleName, accepted: number): void => void shed.set(rule, (shed.get(rule) ?? 0) + accepted)
    const share = count === 0 ? 0 : session.accepted / count
    this.#useOfMessages(session, count, each)
    if (isTrusted(client)) return
    for (let i = 0; i < count; i++) {
      const usage = this.#limits.take('rcpt', client)
      const rule = overIn(usage)
      if (rule !== undefined) {
        this.tallies[rule].messages++
        add(rule, share)
        continue
      }
      for (let j = 0; j < each; j++) {
        const use = this.#limits.recipient(client, usage)
        if (use === undefined || use.used <= use.max) continue
        this.tallies.ip_recipients.recipients++
        add('ip_recipients', share / each)
      }
    }
    this.#named(session, add, share)
    for (const [rule, accepted] of shed) this.tallies[rule].session(session, accepted)
  }

  /** What the line says of each recipient: its domain, and whether the mail servers knew it. */
  #named({ client, named }: SessionSeen, add: (rule: RuleName, accepted: number) => void, share: number): void {
    const { domains } = this.#rules
    for (const { domain, isTaken, isUnknown } of named) {
      if (domains.length > 0 && domain !== 'postmaster' && !domains.includes(domain)) {
        this.tallies.rcpt_domain.recipients++
        add('rcpt_domain', isTaken ? share : 0)
        continue
      }
      if (isRelay(client)) continue
      // A recipient that is put off is asked of no mail server, and counts for nothing.
      const over = UNKNOWN_LIMITS.find((limit) => this.#isHarvest(limit, client))
      if (over !== undefined) {
        this.tallies[over].recipients++
        add(over, isTaken ? share : 0)
        continue
      }
      // Local parts are hidden in most logs: each recipient counts as another mailbox.
      this.#hear(this.#limits, client, isTaken, isUnknown)
    }
  }

  /** As checks/unknown-recipients.ts judges. */
  #isHarvest(limit: UnknownLimit, client: Client): boolean {
    const lately = this.#limits.lately(client, limit)
    if (lately === undefined || !isHeld(limit, client, lately) || lately.unknown.used < lately.unknown.max) return false
    return lately.unknown.used >= HARVEST_SHARE * lately.asked
  }

  #hear(limits: Limits, client: Client, isTaken: boolean, isUnknown: boolean): void {
    if (isTaken || isUnknown) limits.heard(client, `${this.#mailbox++}@replay`, isUnknown)
  }

  /** Of senders who are known or seen and whose mail was accepted, what each rule would have needed. */
  #reach(rule: RuleName, { client, accepted }: SessionSeen, used: number): void {
    if (accepted === 0 || !isFriend(client) || isTrusted(client) || isRelay(client)) return
    const isPerClient = rule === 'ip_concurrency' || LIMITS[rule as LimitName].per !== 'everybody'
    const factor = client.standing === 'known' && isPerClient ? this.#rules.factors.known : 1
    this.peaks[rule].reach(Math.ceil(used / factor), isPerClient ? client.source : 'all')
  }

  #useAtGate(session: SessionSeen): Seat {
    const { client, accepted } = session
    const seat = this.#useSeats.take(client)
    this.#reach('ip_concurrency', session, seat.open.source)
    const usage = this.#uses.take('connect', client, 'sender')
    // A flood uses up what all share: what must fit is the mail that was accepted.
    const shared = accepted > 0 ? this.#uses.take('connect', client, 'everybody') : {}
    this.#reachAll(session, { ...usage, ...shared })
    return seat
  }

  #useOfMessages(session: SessionSeen, count: number, each: number): void {
    const { client, accepted, named } = session
    for (let i = 0; i < count; i++) {
      const usage = this.#uses.take('rcpt', client, 'sender')
      const shared = accepted > 0 ? this.#uses.take('rcpt', client, 'everybody') : {}
      this.#reachAll(session, { ...usage, ...shared })
      for (let j = 0; j < each; j++) {
        const use = this.#uses.recipient(client, usage)
        if (use !== undefined) this.#reach('ip_recipients', session, use.used)
      }
    }
    for (const { isTaken, isUnknown } of named) this.#hear(this.#uses, client, isTaken, isUnknown)
    if (named.length === 0) return
    for (const limit of UNKNOWN_LIMITS) {
      const lately = this.#uses.lately(client, limit)
      if (lately !== undefined && isHeld(limit, client, lately)) this.#reach(limit, session, lately.unknown.used)
    }
  }

  #reachAll(session: SessionSeen, usage: Usage): void {
    for (const limit of LIMIT_NAMES) {
      const use = usage[limit]
      if (use !== undefined) this.#reach(limit, session, use.used)
    }
  }
}

/** Whether a limit on unknown recipients is for this client: known ones are held by that of their network only if they guess themselves. */
const isHeld = (limit: UnknownLimit, { standing }: Client, lately: RecentRecipients): boolean =>
  LIMITS[limit].per !== 'net' || standing !== 'known' || isGuessing(lately)

/** The narrowest limit that this charge is over. */
function overIn(usage: Usage): LimitName | undefined {
  return LIMIT_NAMES.find((limit) => {
    const use = usage[limit]
    return use !== undefined && use.used > use.max
  })
}
