/** The sessions that an explanation shows: as a node tells of them, and as those of several are put together. */
import type { Standing } from '../core/client.ts'
import { type KeptMessage, type KeptRecipient, latestOf } from '../core/kept-session.ts'
import type { CheckName, ReasonName } from '../core/reasons.ts'

/** Sessions that are told of, at most, of those that were turned away and of the others. */
export const SHOWN = 20

export interface SessionReport {
  /** As the client heard it. */
  readonly id: string
  readonly at: string
  /** The node that had it. */
  readonly host: string
  readonly ip: string
  readonly standing: Standing
  readonly stage: string
  /** Absent: a mail server refused, and `refusedBy` has its words; or nobody did. */
  readonly reason?: ReasonName
  readonly code?: number
  /** What decided, such as how much of a limit was used. */
  readonly facts?: Readonly<Record<string, string | number>>
  readonly helo?: string
  readonly from?: string
  readonly fromHmac?: string
  /** The first ones, of `rcptCount`. */
  readonly rcpts?: readonly KeptRecipient[]
  readonly rcptCount?: number
  /** The first ones. */
  readonly messages?: readonly KeptMessage[]
  readonly refusedBy?: { readonly upstream: string; readonly reply: string }
  /** Checks in observe mode that would have turned it away. */
  readonly observe?: readonly (CheckName | ReasonName)[]
  /** How many sessions it stands for; absent: itself alone. */
  readonly sample?: number
}

/** Of the sessions shown. */
export interface ObservedReport {
  readonly check: CheckName | ReasonName
  /** How many the check would have turned away, if it were not only observed. */
  readonly wouldRefuse: number
  /** Those of them that brought mail which a mail server accepted. */
  readonly accepted: number
}

/** Where was looked, besides the memory of the node that was asked. */
export interface LookedIn {
  /** asked: those of all nodes are there; away: Redis does not answer; off: it keeps none; none: there is no Redis. */
  readonly redis: 'asked' | 'away' | 'off' | 'none'
  readonly note: string
}

export interface Sessions {
  /** The last ones in which something was turned away, the latest first. */
  readonly refused: readonly SessionReport[]
  /** The last ones in which nothing was, and which brought mail or would have been turned away by a check in observe mode. */
  readonly served: readonly SessionReport[]
  readonly observed: readonly ObservedReport[]
  readonly lookedIn: LookedIn
}

export function sessionsOf(
  refused: readonly SessionReport[],
  served: readonly SessionReport[],
  lookedIn: LookedIn,
): Sessions {
  const all = [...refused, ...served]
  const checks = new Set(all.flatMap(({ observe }) => observe ?? []))
  const observed = [...checks].sort().map((check) => {
    const those = all.filter(({ observe }) => observe?.includes(check))
    const accepted = those.filter(({ messages }) => messages?.some(({ result }) => result === 'accepted'))
    return { check, wouldRefuse: those.length, accepted: accepted.length }
  })
  return { refused, served, observed, lookedIn }
}

/** What several processes of one node tell. */
export function sessionsTogether(told: readonly [Sessions, ...Sessions[]]): Sessions {
  const of = (which: 'refused' | 'served') =>
    latestOf(
      told.map((each) => each[which]),
      SHOWN,
    )
  const { lookedIn } = told.find((each) => each.lookedIn.redis === 'asked') ?? told[0]
  return sessionsOf(of('refused'), of('served'), lookedIn)
}
