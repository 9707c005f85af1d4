/** What checks in observe mode would have refused, as it is told: by one process, and by all workers of a node together. */
import { STANDINGS, type Standing } from '../../core/client.ts'
import type { CheckName } from '../../core/reasons.ts'
import { recordOf } from '../../core/record.ts'
import { HEARD, type Heard } from '../metrics.ts'

/** Of an observed limit, or of another check that compares with a maximum. */
export interface ObservedUse {
  readonly used: number
  /** That of the client, which is wider for a known one (LIMIT_KNOWN_FACTOR), and that of one worker where limits are divided. */
  readonly max: number
}

const shareOf = ({ used, max }: ObservedUse): number => used / Math.max(1, max)

/** That of the two which is further beyond its maximum. */
export const higher = <T extends ObservedUse>(before: T | undefined, next: T): T =>
  before !== undefined && shareOf(before) >= shareOf(next) ? before : next

/** By how much of its maximum a setting is too low: 1.5 says that it would have to be half as much again. */
export const excess = shareOf

/** A client that a check would have refused although the mail servers accepted its mail. */
export interface ObservedSender {
  /** An IPv4 address, or an IPv6 /64. */
  readonly source: string
  /** Its latest. */
  readonly standing: Standing
  /** What it said last; text of a stranger, at most 255 characters. */
  readonly helo?: string
  /** Sessions that would have been refused and brought mail that was accepted. */
  readonly sessions: number
  /** When the last one of them ended, in milliseconds since 1970. */
  readonly last: number
}

export type ByStanding = Readonly<Record<Standing, number>>

export interface CheckTally {
  readonly check: CheckName
  /** Sessions that it would have refused. */
  readonly heard: Readonly<Record<Heard, ByStanding>>
  /** The most honest by their standing first, then those that come most; MOST_SENDERS at most. */
  readonly senders: readonly ObservedSender[]
  /** There were more senders than are kept. */
  readonly more: boolean
  /** The most that a known sender used whose mail was accepted, and that a seen one did; in this order, as far as there are any. */
  readonly peaks: readonly Peak[]
}

/** Whose use tells what a limit has to be. One accepted message makes a sender seen, so these have a peak of their own. */
export const PEAKS = ['known', 'seen'] as const satisfies readonly Standing[]
export interface Peak extends ObservedUse {
  readonly standing: (typeof PEAKS)[number]
  readonly source: string
}

/** Of one process. */
export interface Tallied {
  /** In milliseconds since 1970. */
  readonly since: number
  /** Checks that would have refused anybody. */
  readonly checks: readonly CheckTally[]
}

/** Senders of one check that are kept. */
export const MOST_SENDERS = 64

export const rankOf = (standing: Standing): number => STANDINGS.indexOf(standing)

export const inOrder = (senders: readonly ObservedSender[]): ObservedSender[] =>
  [...senders].sort((a, b) => rankOf(a.standing) - rankOf(b.standing) || b.sessions - a.sessions || b.last - a.last)

/** The same sender as two workers saw it. */
function same(one: ObservedSender, other: ObservedSender): ObservedSender {
  const latest = one.last >= other.last ? one : other
  return { ...latest, sessions: one.sessions + other.sessions }
}

function checkTogether(check: CheckName, all: readonly CheckTally[]): CheckTally {
  const found = new Map<string, ObservedSender>()
  for (const each of all.flatMap(({ senders }) => senders)) {
    const before = found.get(each.source)
    found.set(each.source, before === undefined ? each : same(before, each))
  }
  const peaks = all.flatMap((each) => each.peaks)
  const peakOf = (standing: Standing): Peak | undefined =>
    peaks
      .filter((each) => each.standing === standing)
      .reduce<Peak | undefined>((before, each) => higher(before, each), undefined)
  const sum = (heard: Heard, standing: Standing): number =>
    all.reduce((total, each) => total + each.heard[heard][standing], 0)
  return {
    check,
    heard: recordOf(HEARD, (heard) => recordOf(STANDINGS, (standing) => sum(heard, standing))),
    senders: inOrder([...found.values()]).slice(0, MOST_SENDERS),
    more: found.size > MOST_SENDERS || all.some(({ more }) => more),
    peaks: PEAKS.flatMap((standing) => peakOf(standing) ?? []),
  }
}

/** Those of all workers of a node, which begin to count when they start. @param all one at least */
export function tallyTogether(all: readonly Tallied[]): Tallied {
  const checks = all.flatMap((each) => each.checks)
  const names = [...new Set(checks.map(({ check }) => check))]
  return {
    since: Math.min(...all.map(({ since }) => since)),
    checks: names.map((name) =>
      checkTogether(
        name,
        checks.filter(({ check }) => check === name),
      ),
    ),
  }
}
