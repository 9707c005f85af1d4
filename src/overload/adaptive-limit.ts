/**
 * How many connections a mail server can make use of, found out from how it answers. Too many make it slow for everybody; too few
 * leave it idle while mail waits. Nobody has to know the right number, and it is another one when a disk fails.
 *
 * The rule. Time is cut into windows (window.ts). At the end of a window that had enough replies
 *
 *     gradient = min over commands of  clamp(TOLERANCE · usual / median,  1/2, 1)
 *     limit    ← limit + SMOOTHING · (gradient · limit + √limit − limit)
 *
 * where `median` is the median time of the window's replies to one command, and `usual` a slow mean of earlier medians. As long as
 * replies take no longer than is tolerated the limit rises by about √limit · SMOOTHING, which is the queue that is allowed for. When
 * they take twice as long as that it falls towards half. It never rises while less than half of it is used. This is the rule of
 * Gradient2Limit in Netflix' concurrency-limits, after TCP Vegas (Brakmo and Peterson, 1995), with the median in place of the mean:
 * one mailbox that is slow says nothing about the server.
 *
 * What is usual must not be learned from a queue of our own making, or the limit would rise with the queue to no end. So it falls at
 * any time, and rises only in a window that used less than half of the limit. A server may also have become slower for good, and then
 * fewer connections do not make it quicker. So a fall is a trial: when the limit is half of what it was when the fall began, and the
 * dot is not quicker by a fifth at least, our connections are not the cause. The limit is then what it was before, and what the server
 * shows now is usual.
 *
 * Drops. A window in which a tenth of what was asked was dropped (isDrop in relay/smtp/reply.ts), by clients of five neighbourhoods
 * at least, takes the limit down by a tenth and a quarter: multiplicative decrease (Chiu and Jain, 1989).
 *
 * After an outage the limit begins at a tenth of what it was, and doubles with each window in which the 95th percentile of the dot
 * stays under twice the usual. It goes by what the server shows, not by the clock: a server that is slow to recover gets little for
 * long. The slow start ends when the limit is what it was before, or the server shows that it is enough.
 */
import type { Bounds } from '../config/connections-kind.ts'
import { TIMED, type Timed, type WindowSummary } from './window.ts'

export interface LimitState {
  /** With fractions, within the bounds. */
  readonly limit: number
  /** The usual time of a reply in ms; undefined: not known yet. */
  readonly usual: Readonly<Partial<Record<Timed, number>>>
  /** What a slow start leads back to; undefined: there is none. */
  readonly goal: number | undefined
  /** The limit, and the median of the dot in ms, when the limit began to fall; undefined: it does not. */
  readonly trial: { readonly limit: number; readonly median: number } | undefined
}

/** How much longer than usual the median of a window may be. A greeting and RCPT wait for the sender's DNS as well. */
const TOLERANCE: Readonly<Record<Timed, number>> = { connect: 4, rcpt: 4, dot: 2 }
const SMOOTHING = 0.2
const LEAST_GRADIENT = 0.5
/** Replies to one command in a window before they say anything. */
const ENOUGH = 10
/** How much of `usual` a window's median replaces, and how much faster it falls: recovery is not to be taken for slowness. */
const USUAL_RISES = 0.005
const USUAL_FALLS = 0.05
/** A fall has not helped if the dot takes more than this part of what it took before. */
const NOT_QUICKER = 0.8
/** Times below this, in ms, are those of an idle server, and twice as long is no sign of load. */
const QUICK_MS = 20
const DROPPED = 0.1
const DROPPED_NETS = 5
const BACK_OFF = 0.75
const START_PART = 0.1
const START_FACTOR = 2
const START_TOLERANCE = 2
/** Dots in a window of a slow start before it doubles. */
const ENOUGH_TO_DOUBLE = 3

/** How many replies to the dot, or drops, a window should have. */
export const enoughFor = ({ goal }: LimitState): number => (goal === undefined ? ENOUGH : ENOUGH_TO_DOUBLE)

export const within = (limit: number, { floor, ceiling }: Bounds): number => Math.min(ceiling, Math.max(floor, limit))

/** It begins in the middle: a start is no outage. */
export const firstState = (bounds: Bounds): LimitState => ({
  limit: within(bounds.ceiling / 2, bounds),
  usual: {},
  goal: undefined,
  trial: undefined,
})

/** The server is back after an outage. */
export const restarted = (state: LimitState, bounds: Bounds): LimitState => {
  const goal = state.goal ?? state.limit
  return { ...state, limit: within(goal * START_PART, bounds), goal, trial: undefined }
}

/** A window is over. */
export function afterWindow(state: LimitState, window: WindowSummary, bounds: Bounds): LimitState {
  const usual = usualAfter(state, window)
  if (isDropping(window)) {
    return { usual, limit: within(state.limit * BACK_OFF, bounds), goal: undefined, trial: undefined }
  }
  if (state.goal !== undefined) return duringStart({ ...state, usual }, state.usual.dot, window, bounds)
  const gradient = gradientOf(state.usual, window)
  if (gradient === undefined) return { ...state, usual }
  if (isInVain(state, window)) return afterTrial(state, window, bounds)
  const aim = gradient * state.limit + Math.sqrt(state.limit)
  const next = state.limit + SMOOTHING * (aim - state.limit)
  const isUsed = window.mostInUse >= state.limit / 2
  const limit = next > state.limit && !isUsed ? state.limit : within(next, bounds)
  return { ...state, usual, limit, trial: trialAfter(state, window, gradient) }
}

const isHalved = ({ limit, trial }: LimitState): boolean => trial !== undefined && limit <= trial.limit / 2

/** Whether the limit was halved, and the dot takes as long as before. */
function isInVain(state: LimitState, { times: { dot } }: WindowSummary): boolean {
  const { trial } = state
  if (trial === undefined || !isHalved(state) || dot === undefined || dot.count < ENOUGH) return false
  return dot.median > NOT_QUICKER * trial.median
}

function afterTrial(state: LimitState, { times }: WindowSummary, bounds: Bounds): LimitState {
  const usual: Partial<Record<Timed, number>> = { ...state.usual }
  for (const command of TIMED) {
    const seen = times[command]
    if (seen !== undefined && seen.count >= ENOUGH) usual[command] = seen.median
  }
  return { usual, limit: within(state.trial?.limit ?? state.limit, bounds), goal: undefined, trial: undefined }
}

/** A trial begins with a fall of the limit. One that has helped begins anew where it is. */
function trialAfter(state: LimitState, { times: { dot } }: WindowSummary, gradient: number): LimitState['trial'] {
  if (gradient === 1 || dot === undefined || dot.count < ENOUGH) return gradient === 1 ? undefined : state.trial
  if (state.trial !== undefined && !isHalved(state)) return state.trial
  return { limit: state.limit, median: dot.median }
}

/** @param usualDot before this window */
function duringStart(
  state: LimitState,
  usualDot: number | undefined,
  window: WindowSummary,
  bounds: Bounds,
): LimitState {
  const { dot } = window.times
  if (state.goal === undefined || dot === undefined || dot.count < ENOUGH_TO_DOUBLE) return state
  if (usualDot !== undefined && dot.p95 > START_TOLERANCE * Math.max(QUICK_MS, usualDot)) return state
  const limit = Math.min(state.goal, within(state.limit * START_FACTOR, bounds))
  return { ...state, limit, goal: limit >= state.goal ? undefined : state.goal }
}

const isDropping = ({ drops, dropNets, asked }: WindowSummary): boolean =>
  dropNets >= DROPPED_NETS && drops >= DROPPED * asked

/** @returns 1/2 to 1; undefined if nothing is known yet, or too little has come */
function gradientOf(usual: LimitState['usual'], { times }: WindowSummary): number | undefined {
  // Clients that never come to a dot, with senders whose DNS hangs, must not decide alone.
  if ((times.dot?.count ?? 0) < ENOUGH) return undefined
  let least: number | undefined
  for (const command of TIMED) {
    const [seen, before] = [times[command], usual[command]]
    if (seen === undefined || before === undefined || seen.count < ENOUGH) continue
    const gradient = (TOLERANCE[command] * Math.max(QUICK_MS, before)) / Math.max(QUICK_MS, seen.median)
    const clamped = Math.min(1, Math.max(LEAST_GRADIENT, gradient))
    if (least === undefined || clamped < least) least = clamped
  }
  return least
}

function usualAfter({ usual, limit }: LimitState, { times, mostInUse }: WindowSummary): LimitState['usual'] {
  const mayRise = mostInUse < limit / 2
  const next: Partial<Record<Timed, number>> = { ...usual }
  for (const command of TIMED) {
    const seen = times[command]
    if (seen === undefined || seen.count < ENOUGH) continue
    const before = usual[command]
    if (before === undefined) next[command] = seen.median
    else if (seen.median < before) next[command] = before + USUAL_FALLS * (seen.median - before)
    else if (mayRise) next[command] = before + USUAL_RISES * (seen.median - before)
  }
  return next
}
