// What a scenario is about, in figures with a goal each, from what was sent, heard and watched. All of it is pure; a figure that
// a run cannot tell is NaN, and its goal missed. docs/flood.md says what each goal is.

import { isTest, type Met } from './early.ts'
import { type Delivery, quantile, sums } from './ledger.ts'
import { SLOW_MAILBOX } from './names.ts'
import type { Scenario, Span } from './scenarios.ts'
import type { LevelPoint } from './watch.ts'

export interface Goal {
  readonly goal: string
  readonly value: number
  readonly limit: { readonly atMost: number } | { readonly atLeast: number }
  readonly digits?: number
  readonly unit?: string
}

/** What a run left. */
export interface Run {
  readonly scenario: Scenario
  /** Of honest senders. */
  readonly honest: readonly Delivery[]
  /** How often the cluster has each delivery. */
  readonly arrived: ReadonlyMap<string, number>
  readonly levels: readonly LevelPoint[]
  /** By second: transactions at the cluster of the spam that is counted apart. */
  readonly turned: readonly number[]
  /** By second: how full the queue behind the dot was. */
  readonly queue: readonly number[]
  /** Transactions begun and dots in the worst ten seconds, to the capacity. */
  readonly dotsOverCapacity: number
  /** Messages a second that one address may send. */
  readonly limit: number
  /** spillway_known_clients of the first node. */
  readonly known: { readonly before: number; readonly after: number }
  /** Sessions of suspects, relayed or shed. */
  readonly suspects: number
  /** Messages that the nodes have logged as unknown. */
  readonly unknown: number
  /** Sessions of strangers that were put off. */
  readonly strangersShed: number
  /** What tests have made of visits, by what the clients are. */
  readonly met?: Readonly<Record<string, Met>>
}

const SECOND_MS = 1000
/** Whatever begins needs a moment. */
const BEGUN_LATE_S = 1
const NEVER = Number.POSITIVE_INFINITY
const percent = (part: number, of: number): number => (100 * part) / of

const sentIn = (deliveries: readonly Delivery[], fromS: number, toS: number): Delivery[] =>
  deliveries.filter(({ sentMs }) => sentMs >= fromS * SECOND_MS && sentMs < toS * SECOND_MS)
const whole = (deliveries: readonly Delivery[]): number[] => deliveries.flatMap(({ tookMs }) => tookMs ?? [])
const dots = (deliveries: readonly Delivery[]): number[] => deliveries.flatMap(({ dotMs }) => dotMs ?? [])
/** All that a transaction took but the wait for the reply to its dot. */
const talks = (deliveries: readonly Delivery[]): number[] =>
  deliveries.flatMap(({ tookMs, dotMs }) => (tookMs === undefined || dotMs === undefined ? [] : tookMs - dotMs))
const p = (values: readonly number[], q: number): number => quantile(values, q)
const firstTry = (deliveries: readonly Delivery[]): number =>
  percent(deliveries.filter(({ atFirstTry }) => atFirstTry).length, deliveries.length)
const FIRST_TRY = { limit: { atLeast: 99 }, digits: 1, unit: ' %' } as const

/** S6. */
function handshakes({ scenario, honest }: Run): Goal[] {
  const spans = scenario.handshakes ?? []
  const [first] = spans
  if (first === undefined) return []
  const usual = p(whole(sentIn(honest, 0, first.atS)), 0.99)
  return spans.flatMap(({ addresses, atS, forS }): Goal[] => {
    const then = sentIn(honest, atS + BEGUN_LATE_S, atS + forS)
    const who = addresses === 1 ? 'one address does' : `${addresses} addresses do`
    return [
      {
        goal: `p99 of honest mail while ${who} nothing but handshakes, to the usual`,
        value: p(whole(then), 0.99) / usual,
        limit: { atMost: 2 },
      },
      { goal: `honest mail, first try, while ${who} nothing but handshakes`, value: firstTry(then), ...FIRST_TRY },
    ]
  })
}

/** S7. */
function slowClients({ scenario: { slow, seconds }, honest }: Run): Goal[] {
  if (slow === undefined) return []
  const then = sentIn(honest, slow.atS, seconds)
  const usual = p(whole(sentIn(honest, 0, slow.atS)), 0.99)
  const ofKnown = then.filter((each) => each.class === 'known')
  const others = then.filter((each) => each.class === 'first contact')
  return [
    { goal: 'known senders, first try, beside slow clients', value: firstTry(ofKnown), ...FIRST_TRY },
    { goal: 'first contacts, first try, beside slow clients', value: firstTry(others), ...FIRST_TRY },
    {
      goal: 'p99 of honest mail beside slow clients, to the usual',
      value: p(whole(then), 0.99) / usual,
      limit: { atMost: 2 },
    },
  ]
}

/** S9. */
function recovery({ scenario: { down, k, seconds }, honest, arrived }: Run): Goal[] {
  if (down === undefined) return []
  const usual = p(dots(sentIn(honest, 0, down.atS)), 0.95)
  const backMs = down.atS * SECOND_MS + (down.min * 60_000) / k
  const accepted = honest.filter(({ acceptedMs }) => (acceptedMs ?? -1) >= backMs)
  const spans = new Map<number, number[]>()
  for (const each of accepted) {
    const span = Math.floor(((each.acceptedMs as number) - backMs) / (10 * SECOND_MS))
    spans.set(span, [...(spans.get(span) ?? []), ...dots([each])])
  }
  // Of fewer than twenty the p95 is the slowest.
  const judged = [...spans.values()].filter((each) => each.length >= 20).map((each) => p(each, 0.95))
  const worst = judged.length === 0 ? Number.NaN : Math.max(...judged)
  // What was new near the end may have hours to go by the schedule of its server.
  const starved = honest.filter(
    ({ id, sentMs, lastTriedMs }) =>
      sentMs < seconds * SECOND_MS && (lastTriedMs ?? 0) >= backMs && (arrived.get(id) ?? 0) === 0,
  )
  return [
    {
      goal: 'p95 of the dot in the worst 10 s after the return, to the usual',
      value: worst / usual,
      limit: { atMost: 2 },
    },
    {
      goal: 'honest mail tried after the return, and not in at the end',
      value: starved.length,
      limit: { atMost: 0 },
      digits: 0,
    },
  ]
}

/** S10. */
function slowMailbox({ scenario: { slowMailbox: steps = [], seconds }, honest, levels }: Run): Goal[] {
  const [first] = steps
  if (first === undefined) return []
  // A message to several recipients is as slow as the slowest.
  const slow = new Set(honest.flatMap((each) => (each.id.endsWith(` ${SLOW_MAILBOX}`) ? nameOf(each) : [])))
  const others = honest.filter((each) => !slow.has(nameOf(each)))
  const usual = p(whole(sentIn(others, 0, first.atS)), 0.99)
  const goals = steps.flatMap(({ atS, share }, i): Goal[] => {
    const then = sentIn(others, atS, steps[i + 1]?.atS ?? seconds)
    const when = `while ${100 * share} % is for the slow mailbox`
    return [
      {
        goal: `p99 of the others' mail ${when}, to the usual`,
        value: p(whole(then), 0.99) / usual,
        limit: { atMost: 1.5 },
      },
      { goal: `the others' mail, first try, ${when}`, value: firstTry(then), ...FIRST_TRY },
    ]
  })
  const then = levels.filter(({ s }) => s >= first.atS)
  const otherwise = then.filter(({ level, signal }) => level > 0 && !signal.startsWith('upstream_'))
  return [
    ...goals,
    {
      goal: 'seconds of a level above 0 that is not laid to the mail server',
      value: then.length === 0 ? Number.NaN : otherwise.length,
      limit: { atMost: 0 },
      digits: 0,
    },
    {
      goal: 'share of the seconds in which the status names the slow mail server',
      value: percent(then.filter(({ slowest }) => slowest !== undefined).length, then.length),
      limit: { atLeast: 90 },
      digits: 0,
      unit: ' %',
    },
  ]
}

/** S11. A node gives Redis 50 ms for an answer: had a reply waited for one, it were that late at least. */
const OF_REDIS_MS = 50

function redisFaults({ scenario: { redis = [] }, honest, turned, limit }: Run): Goal[] {
  const [first] = redis
  if (first === undefined) return []
  const usual = p(talks(sentIn(honest, 0, first.atS)), 0.95)
  return redis.flatMap(({ fault, atS, forS }): Goal[] => {
    const later = p(talks(sentIn(honest, atS, atS + forS)), 0.95) - usual
    return [
      {
        goal: `p95 of all but the dot while Redis is ${fault}, later than usual by`,
        value: later,
        limit: { atMost: OF_REDIS_MS },
        digits: 0,
        unit: ' ms',
      },
      {
        goal: `a stranger's messages in the worst 10 s while Redis is ${fault}, to its limit`,
        value: worstOf(turned, { atS, forS }) / (SPAN_S * limit),
        limit: { atMost: 1.2 },
      },
    ]
  })
}

const SPAN_S = 10
/** In any ten seconds within the span. NaN: nothing came at all, which tells nothing. */
const worstOf = (perSecond: readonly number[], { atS, forS }: Span): number =>
  Math.max(0, ...sums(perSecond.slice(atS, atS + forS), SPAN_S)) || Number.NaN

const nameOf = ({ id }: Delivery): string => id.slice(0, id.indexOf(' '))

/** S9, S12: a message whose dot nobody has answered is there or not, and its sender sends it again (RFC 1047). */
function doubled({ scenario: { kills, down }, honest, arrived, unknown }: Run): Goal[] {
  if (kills === undefined && down === undefined) return []
  const twice = honest.filter(({ id, isCutPastDot }) => (arrived.get(id) ?? 0) > 1 && !isCutPastDot)
  return [
    {
      // A node that is killed logs nothing: its senders know that the connection ended at their dot.
      goal: `honest messages doubled that are not logged as unknown${kills === undefined ? '' : ', nor cut at their dot by a kill'}`,
      value: Math.max(0, new Set(twice.map(nameOf)).size - unknown),
      limit: { atMost: 0 },
      digits: 0,
    },
  ]
}

/** S12. */
const kills = ({ scenario, honest }: Run): Goal[] =>
  scenario.kills === undefined
    ? []
    : [{ goal: 'honest mail, first try, at one node or the other', value: firstTry(honest), ...FIRST_TRY }]

/** S15. */
function snowshoe({ scenario: { turnsBad }, honest }: Run): Goal[] {
  if (turnsBad?.who !== 'a known /24') return []
  const then = honest.filter(({ sentMs, class: who }) => who === 'known' && sentMs >= turnsBad.atS * SECOND_MS)
  return [{ goal: 'known senders, first try, beside the snowshoe', value: firstTry(then), ...FIRST_TRY }]
}

/** S17. */
function directory({ scenario: { directory: span }, honest, levels, known, suspects }: Run): Goal[] {
  if (span === undefined) return []
  const heldMs = (levels.find(({ s, isGuarding }) => s >= span.atS && isGuarding)?.s ?? NEVER) * SECOND_MS
  const bounced = honest.flatMap(({ refusedMs }) => refusedMs ?? [])
  const after = honest.filter(
    ({ sentMs, class: who }) => who === 'known' && sentMs > (span.atS + span.forS + 60) * SECOND_MS,
  )
  return [
    {
      goal: 'the guard holds after',
      value: heldMs / SECOND_MS - span.atS,
      limit: { atMost: 15 },
      digits: 0,
      unit: ' s',
    },
    {
      goal: 'recipients there are that were refused for good',
      value: bounced.length,
      limit: { atMost: MOST_BOUNCED },
      digits: 0,
    },
    {
      goal: 'of them while the guard held',
      value: bounced.filter((at) => at > heldMs + SECOND_MS).length,
      limit: { atMost: 0 },
      digits: 0,
    },
    {
      goal: 'known clients after it, of those before',
      value: percent(known.after, known.before),
      limit: { atLeast: 100 },
      digits: 1,
      unit: ' %',
    },
    { goal: 'sessions of suspects', value: suspects, limit: { atMost: 0 }, digits: 0 },
    ...(after.length === 0
      ? []
      : [{ goal: 'known senders, first try, a minute after it', value: firstTry(after), ...FIRST_TRY }]),
  ]
}

/** Twenty recipients accepted lately must be unknown before the guard believes nobody (state/unknown-guard.ts), and some more are never seen. */
const MOST_BOUNCED = 40

/** S18. */
function queue({ scenario, honest, levels, strangersShed, queue: full }: Run): Goal[] {
  if (scenario.queue === undefined) return []
  const above = levels.filter(({ level }) => level > 0)
  const so = above.filter(({ signal }) => signal === 'reported_queue')
  return [
    {
      goal: 'the highest level that the reported queue has raised',
      value: Math.max(0, ...so.map(({ level }) => level)),
      limit: { atLeast: 2 },
      digits: 0,
    },
    { goal: 'sessions of strangers put off', value: strangersShed, limit: { atLeast: 1 }, digits: 0 },
    {
      goal: 'known senders, first try',
      value: firstTry(honest.filter((each) => each.class === 'known')),
      ...FIRST_TRY,
    },
    { goal: 'the queue at its longest, to what it may hold', value: Math.max(0, ...full), limit: { atMost: 2 } },
  ]
}

/** S19. With nothing there is no goal: who is known cannot be told. */
function coldStart({ scenario: { logs, k }, honest }: Run): Goal[] {
  if (logs !== 'a day') return []
  const known = honest.filter((each) => each.class === 'known')
  const within = known.filter(({ sentMs, acceptedMs = NEVER }) => acceptedMs - sentMs <= (30 * 60_000) / k)
  return [
    {
      goal: 'known senders, 30 min, with a day of logs',
      value: percent(within.length, known.length),
      limit: { atLeast: 90 },
      digits: 1,
      unit: ' %',
    },
  ]
}

/** S13. */
function burst({ scenario, dotsOverCapacity }: Run): Goal[] {
  if (scenario.burst === undefined) return []
  return [
    { goal: 'dots in the best 10 s of the burst, to the capacity', value: dotsOverCapacity, limit: { atLeast: 0.9 } },
  ]
}

/** S20. A bot that comes again is another session. */
function earlyTests({ scenario: { listed }, met = {} }: Run): Goal[] {
  const { bots } = met
  if (listed === undefined) return []
  const share = (of: 'beforeMail' | 'beforeRcpt') => (bots === undefined ? Number.NaN : percent(bots[of], bots.visits))
  const goal = (what: string, value: number): Goal => ({
    goal: what,
    value,
    limit: { atLeast: 90 },
    digits: 1,
    unit: ' %',
  })
  const refused = Object.entries(met.honest?.reasons ?? {}).filter(([reason]) => isTest(reason))
  return [
    ...(listed >= 0.5 ? [goal('bot sessions refused before MAIL is taken', share('beforeMail'))] : []),
    ...(listed >= 0.5 ? [goal('bot sessions refused before a mail server is asked', share('beforeRcpt'))] : []),
    {
      goal: 'honest sessions refused by a test',
      value: met.honest === undefined ? Number.NaN : refused.reduce((sum, [, count]) => sum + count, 0),
      limit: { atMost: 0 },
      digits: 0,
    },
  ]
}

/** Of one run of Spillway. */
export const figuresOf = (run: Run): Goal[] =>
  [
    handshakes,
    slowClients,
    recovery,
    slowMailbox,
    redisFaults,
    doubled,
    kills,
    burst,
    snowshoe,
    directory,
    queue,
    coldStart,
    earlyTests,
  ].flatMap((of) => of(run))
