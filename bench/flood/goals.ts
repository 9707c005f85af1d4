// What a run is measured against: the goals of docs/flood.md, as rows of a table. A goal that a run cannot tell is not in it.

import { judged } from '../measure.ts'
import type { ClassTally } from './ledger.ts'
import type { Result } from './run.ts'
import type { Contender } from './settings.ts'

const HELD_WITHIN_S = 60

type Row = readonly [goal: string, figure: string]
const share = (part: number, { sent }: ClassTally): number => (100 * part) / sent
const percent = (value: number, atLeast: number): string => judged(value, { atLeast }, 1, ' %')

/** What must hold for honest mail whatever happens. */
function always({ classes }: Result): Row[] {
  const honest = [classes.known, classes['first contact']]
  const sum = (of: (each: ClassTally) => number): string =>
    judged(
      honest.reduce((all, each) => all + of(each), 0),
      { atMost: 0 },
      0,
    )
  return [
    ['honest mail lost', sum(({ lost }) => lost)],
    ['honest mail doubled', sum(({ twice }) => twice)],
    ['5yz by Spillway to honest mail', sum(({ refusedByUs }) => refusedByUs)],
  ]
}

function underFlood(result: Result, of: (contender: Contender) => Result | undefined): Row[] {
  const { known, 'first contact': first } = result.atHeight
  const rows: Row[] = [['known senders, first try', percent(share(known.atFirstTry, known), 99)]]
  if (first.sent > 0) rows.push(['first contacts, 30 min', percent(share(first.within30Min, first), 80)])
  if (first.sent > 0 && first.within4H !== undefined)
    rows.push(['first contacts, 4 h', percent(share(first.within4H, first), 95)])
  const calm = of('calm')?.atHeight.known
  if (calm !== undefined) {
    rows.push(['p99 of known senders, times that without the flood', judged(known.p99Ms / calm.p99Ms, { atMost: 1.5 })])
  }
  const blind = of('blind')?.atHeight
  if (blind !== undefined) {
    const atFirst = (each: Result['atHeight']) => each.known.atFirstTry + each['first contact'].atFirstTry
    const times = atFirst(result.atHeight) / Math.max(1, atFirst(blind))
    rows.push(['honest mail at the first try, times that of blind shedding', judged(times, { atLeast: 10 }, 1)])
  }
  return rows
}

/** Of one scenario. Empty if Spillway was not among the contenders. */
export function goalsOf(results: readonly Result[]): Row[] {
  const of = (contender: Contender) => results.find((each) => each.contender === contender)
  const ours = of('spillway')
  if (ours === undefined) return []
  const rows = always(ours)
  if (ours.hasFlood) rows.push(...underFlood(ours, of))
  rows.push(['begun upstream in the worst 10 s, times the capacity', judged(ours.overCapacity, { atMost: 1.2 })])
  if (ours.heldAfterS !== undefined) {
    const held = judged(ours.heldAfterS, { atMost: HELD_WITHIN_S }, 0, ' s')
    rows.push(['a sender that turned bad is held to the limit of strangers after', held])
  }
  if (ours.isFirstDay) {
    const putOff = ours.classes.known.putOffByUs + ours.classes['first contact'].putOffByUs
    rows.push(['honest mail put off by Spillway', judged(putOff, { atMost: 0 }, 0)])
  }
  return rows
}
