/**
 * What an operator who was woken up reads first, computed from the figures beside it. It distinguishes a flood (too many
 * senders; the limits shed them and the mail servers are healthy) from slow or absent mail servers (honest mail waits, whoever
 * sends it), because the responses are opposite: let a flood be shed, but repair the cluster. Whether honest mail is harmed
 * is the third question, and the only one that makes it red.
 */
import { REASON_NAMES, type ReasonName, reasonOf } from '../../src/core/reasons.ts'
import { of, orZero, quantile, share, total } from './promql.ts'

/** Reasons that a flood causes: load that a check or the cap on connections refused. */
export const FLOOD: readonly string[] = REASON_NAMES.filter(
  (name) => name === 'max_connections' || (reasonOf(name).load && reasonOf(name).check !== undefined),
)
/** Reasons that the mail servers cause, because they are gone or confused. They hit everybody. */
const AWAY = ['upstream_down', 'upstream_lost', 'unknown_guard'] as const satisfies readonly ReasonName[]
/**
 * The reason that nobody had a connection free. Where there is a flood it is a part of how that is shed: strangers wait for the
 * connections that are theirs, in vain. Known senders that hear it are seen by `friendsServed`.
 */
const FULL = ['upstream_full'] as const satisfies readonly ReasonName[]

/** Senders that have always sent honest mail, by their history or because the operator says so. */
export const FRIENDS = 'standing=~"trusted|known"'

const enforced = (reasons: readonly string[]): string =>
  orZero(total('spillway_refusals_total', '', `mode="enforce", reason=~"${reasons.join('|')}"`))
const ofFriends = (outcomes: string): string =>
  total('spillway_sessions_total', '', `${FRIENDS}, outcome=~"${outcomes}"`)

export const connections = total('spillway_connections_total')
export const dot = quantile(0.95, 'spillway_upstream_reply_duration_seconds', '', 'command="dot"')
export const shedByLimits = enforced(FLOOD)
export const deferredForOutage = enforced(AWAY)
const deferredForLackOfRoom = enforced(FULL)
export const accepted = total('spillway_messages_total', '', 'result="accepted"')
/** Of the sessions of known senders that wanted to bring mail, those that brought some. */
export const friendsServed = share(ofFriends('relayed'), ofFriends('relayed|shed'))

/** Seconds for the reply to the final dot (p95) from which the mail servers count as slow. */
export const SLOW_S = 5
/** Refusals by limits, as a share of connections, from which it is called a flood. */
export const FLOOD_SHARE = 0.1
/** Deferrals because of the mail servers, as a share of these and of accepted messages, from which mail counts as held up. */
export const HELD_SHARE = 0.05
/** The share of known senders that are put off, from which honest mail counts as harmed. */
export const FRIENDS_SHARE = 0.05

const isFlood = `((${shedByLimits}) > bool (${FLOOD_SHARE} * ${connections}))`
const isMuch = (deferred: string): string => `((${deferred}) > bool (${HELD_SHARE} * ((${deferred}) + ${accepted})))`
const isSlow = `((${orZero(dot)}) > bool ${SLOW_S})`
const isFull = `(${isMuch(deferredForLackOfRoom)} * (1 - ${isFlood}))`
const isHeld = isMuch(deferredForOutage)
/**
 * One of many being down, perhaps for repair, is no reason to wake anybody: the others carry its share, or mail is held up. One that the
 * operator has drained is meant to be out, so it counts as up, unless none is left. Behind the "or" are nodes of a version that cannot drain.
 */
const isDown = `clamp_max((avg(${of('spillway_upstream_up')} + ${of('spillway_upstream_drained')} or ${of('spillway_upstream_up')}) < bool 0.5) + (max(${of('spillway_upstream_up')}) == bool 0), 1)`
const isPutOff = `((${orZero(`1 - ${friendsServed}`)}) > bool ${FRIENDS_SHARE})`

/** 1 a flood, and 2 mail servers that are slow or full without one, and 4 honest mail is put off; added up. */
export const verdict = `${isFlood} + 2 * clamp_max(${isSlow} + ${isFull}, 1) + 4 * clamp_max(${isHeld} + ${isDown} + ${isPutOff}, 1)`

export const VERDICTS = {
  0: ['calm', 'green'],
  1: ['FLOOD, being shed', 'orange'],
  2: ['MAIL SERVERS slow or full', 'orange'],
  3: ['FLOOD, slow MAIL SERVERS', 'orange'],
  4: ['HONEST MAIL put off', 'red'],
  5: ['FLOOD, HONEST MAIL put off', 'red'],
  6: ['HONEST MAIL put off, slow MAIL SERVERS', 'red'],
  7: ['FLOOD, HONEST MAIL put off, slow MAIL SERVERS', 'red'],
} as const
