/** The kinds of sessions that the log samples by. */
import { STAGES, type Stage } from '../core/policy.ts'
import { formsOf, patientFormOf, REASON_NAMES, type ReasonName } from '../core/reasons.ts'
import { recordOf } from '../core/record.ts'
import { OUTCOMES, type Outcome } from '../telemetry/metrics.ts'
import type { SessionRecord } from './session-record.ts'

/**
 * Under what a session that relayed nothing is counted in the sample, as its line has it: the reason of our refusal; where
 * we refused nothing, what came of it and how far it got. A closed set, so that clients cannot make the sample grow, nor hide
 * one kind of session behind another.
 */
export type Kind = RefusedFor | { readonly outcome: Outcome; readonly stage: Stage }
type RefusedFor = { readonly reason: ReasonName; readonly code: number }

const KINDS = {
  byReason: recordOf(REASON_NAMES, (reason) =>
    [...new Set([...formsOf(reason), patientFormOf(reason) ?? []].flat())].map(
      ({ code }): RefusedFor => ({ reason, code }),
    ),
  ),
  byOutcome: recordOf(OUTCOMES, (outcome) => recordOf(STAGES, (stage): Kind => ({ outcome, stage }))),
}
export const ALL_KINDS: readonly Kind[] = [
  ...Object.values(KINDS.byReason).flat(),
  ...Object.values(KINDS.byOutcome).flatMap((stages) => Object.values(stages)),
]

export function kindOf({ refusal, stage }: Pick<SessionRecord, 'refusal' | 'stage'>, outcome: Outcome): Kind {
  if (refusal === undefined) return KINDS.byOutcome[outcome][stage]
  const kinds = KINDS.byReason[refusal.reason]
  // Most reasons have one form.
  return (kinds.length === 1 ? undefined : kinds.find(({ code }) => code === refusal.code)) ?? (kinds[0] as Kind)
}
