// What a run is measured against: the goals of docs/flood.md. A goal that a run cannot tell is not among them.

import { judged } from '../measure.ts'
import type { Goal } from './figures.ts'
import type { ClassTally } from './ledger.ts'
import type { Result } from './run.ts'
import type { Contender } from './settings.ts'

const HELD_WITHIN_S = 60

const share = (part: number, { sent }: ClassTally): number => (100 * part) / sent
const percent = (goal: string, value: number, atLeast: number): Goal => ({
  ...{ goal, value, limit: { atLeast }, digits: 1, unit: ' %' },
})
const none = (goal: string, value: number): Goal => ({ goal, value, limit: { atMost: 0 }, digits: 0 })

/** A value that JSON cannot hold was none. */
const numberOf = ({ value }: Goal): number => value ?? Number.NaN

export function isMet(goal: Goal): boolean {
  const { limit } = goal
  return 'atMost' in limit ? numberOf(goal) <= limit.atMost : numberOf(goal) >= limit.atLeast
}

/** The figure beside its goal. */
export const figureOf = (goal: Goal): string => judged(numberOf(goal), goal.limit, goal.digits, goal.unit)

/** What must hold for honest mail whatever happens. */
function always({ classes, isCut }: Result): Goal[] {
  const honest = [classes.known, classes['first contact']]
  const sum = (of: (each: ClassTally) => number): number => honest.reduce((all, each) => all + of(each), 0)
  const [lost, twice, refused] = [sum((each) => each.lost), sum((each) => each.twice), sum((each) => each.refusedByUs)]
  // Where connections are cut, some is (RFC 1047): figures.ts says what may be.
  const doubled = isCut ? [] : [none('honest mail doubled', twice)]
  return [none('honest mail lost', lost), ...doubled, none('5yz by Spillway to honest mail', refused)]
}

function underFlood(result: Result, of: (contender: Contender) => Result | undefined): Goal[] {
  const { known, 'first contact': first } = result.atHeight
  const goals: Goal[] = [percent('known senders, first try', share(known.atFirstTry, known), 99)]
  if (first.sent > 0) goals.push(percent('first contacts, 30 min', share(first.within30Min, first), 80))
  if (first.sent > 0 && first.within4H !== undefined)
    goals.push(percent('first contacts, 4 h', share(first.within4H, first), 95))
  const calm = of('calm')?.atHeight.known
  if (calm !== undefined) {
    const value = known.p99Ms / calm.p99Ms
    goals.push({ goal: 'p99 of known senders, times that without the flood', value, limit: { atMost: 1.5 } })
  }
  const blind = of('blind')?.atHeight
  if (blind !== undefined) {
    const atFirst = (each: Result['atHeight']) => each.known.atFirstTry + each['first contact'].atFirstTry
    const value = atFirst(result.atHeight) / Math.max(1, atFirst(blind))
    const goal = 'honest mail at the first try, times that of blind shedding'
    goals.push({ goal, value, limit: { atLeast: 10 }, digits: 1 })
  }
  return goals
}

/** Of one scenario. Empty if Spillway was not among the contenders. */
export function goalsOf(results: readonly Result[]): Goal[] {
  const of = (contender: Contender) => results.find((each) => each.contender === contender)
  const ours = of('spillway')
  if (ours === undefined) return []
  const goals = always(ours)
  if (ours.isFullFlood) goals.push(...underFlood(ours, of))
  if (ours.isDotTrue) {
    const goal = 'begun upstream in the worst 10 s, times the capacity'
    goals.push({ goal, value: ours.overCapacity, limit: { atMost: 1.2 } })
  }
  if (ours.heldAfterS !== undefined) {
    const limit = { atMost: HELD_WITHIN_S }
    const goal = 'a sender that turned bad is held to the limit of strangers after'
    goals.push({ goal, value: ours.heldAfterS, limit, digits: 0, unit: ' s' })
  }
  const one = of('one sender')
  if (one !== undefined) {
    const [theirs, its] = [ours, one].map(({ classes: { spam } }) => spam.once + spam.twice) as [number, number]
    const goal = "the snowshoe's spam that is in, times what one known sender gets in"
    goals.push({ goal, value: theirs / its, limit: { atMost: 1 }, digits: 1 })
  }
  if (ours.isFirstDay) {
    const putOff = ours.classes.known.putOffByUs + ours.classes['first contact'].putOffByUs
    goals.push(none('honest mail put off by Spillway', putOff))
  }
  return [...goals, ...ours.figures]
}
