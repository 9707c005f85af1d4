/**
 * The types of the policy: stages, facts, verdicts, checks. A check compares facts and gives a verdict. The runner
 * (checks/runner.ts) decides whether the verdict is enforced or only counted.
 */
import { type Client, isRelay, type OpenCounts } from './client.ts'
import { type Action, type CheckName, formOf, patientFormOf, type ReasonName, reasonOf } from './reasons.ts'
import type { Signs } from './signs.ts'
import type { Stage } from './stages.ts'
import type { Usage } from './usage.ts'

export { STAGES, type Stage } from './stages.ts'

/** enforce: refuse. observe: judge, count and log, but refuse nobody. */
export type Mode = 'enforce' | 'observe'

/** What is known at each stage. So a connect check that reads `from` does not compile. */
export interface Facts {
  connect: { readonly client: Client; readonly open: OpenCounts; readonly usage: Usage }
  helo: Facts['connect'] & { readonly helo: string; readonly signs: Signs }
  mail: Facts['helo'] & {
    readonly from: string
    /** As the client declared it, in octets. */
    readonly size: number | undefined
    /** The most octets that a message of this session may have; undefined: no limit. */
    readonly maxSize: number | undefined
    /** Why the message is put off for overload before its recipients are known; undefined: it is not. Asked for when it is called. */
    readonly shed: () => Refusal['facts'] | undefined
  }
  /**
   * `accepted`: recipients of this message that a mail server has accepted so far. `exempt`: no limit per sender
   * applies, because this is postmaster, abuse or a verification, within a budget of its own (RFC 5321 section 4.5.1).
   * `usage` is that of the transaction. `shed`: why the message is put off for overload; undefined: it is not, or the recipient is exempt. It is
   * called by the one check that asks, so that what is refused before takes nothing of what is let in.
   */
  rcpt: Omit<Facts['mail'], 'maxSize' | 'shed'> & {
    readonly to: string
    readonly accepted: number
    readonly exempt: boolean
    readonly shed: () => Refusal['facts'] | undefined
  }
}

export interface Refusal {
  readonly action: Action
  readonly reason: ReasonName
  readonly code: number
  readonly enhanced: string
  /** The words the client reads. */
  readonly text: string
  /** For the log; never sent to the client. */
  readonly facts: Readonly<Record<string, string | number | undefined>>
}
export type Verdict = { readonly action: 'accept' } | Refusal

export const ACCEPT: Verdict = { action: 'accept' }
const NO_FACTS = {}

/** A refusal with the codes and words that core/reasons.ts has for `reason`. */
export function refusal(reason: ReasonName, facts: Refusal['facts'] = NO_FACTS): Refusal {
  const { action, code, enhanced, wire } = reasonOf(reason)
  return { action, reason, code, enhanced, text: wire, facts }
}

/** The same for a reason whose reply depends on the stage. @param isOperators whether it is the operator's own word */
export function refusalAt(
  stage: Stage,
  reason: ReasonName,
  facts: Refusal['facts'] = NO_FACTS,
  isOperators = false,
): Refusal {
  const { action, code, enhanced } = formOf(reason, stage, isOperators)
  return { action, reason, code, enhanced, text: reasonOf(reason).wire, facts }
}

/** The same for a reason that the operator may want to be a refusal for now. */
export function refusalAs(action: 'defer' | 'reject', reason: ReasonName, facts: Refusal['facts'] = NO_FACTS): Refusal {
  const deferred = action === 'defer' ? reasonOf(reason).deferred : undefined
  return { ...refusal(reason, facts), ...deferred }
}

/** The refusal as this client hears it. */
export function heardBy(client: Pick<Client, 'isRelay'>, given: Refusal): Refusal {
  const form = given.action === 'reject' && isRelay(client) ? patientFormOf(given.reason) : undefined
  if (form === undefined) return given
  const { action, code, enhanced } = form
  return { ...given, action, code, enhanced }
}

/** The verdict of most checks: accept up to the maximum, refuse beyond it. @param use undefined if the limit is off */
export function verdictOn(
  reason: ReasonName,
  use: { readonly used: number; readonly max: number; readonly windowMs?: number } | undefined,
): Verdict {
  if (use === undefined || use.used <= use.max) return ACCEPT
  return refusal(reason, { ...use })
}

/** One rule of the policy, which judges at one stage. */
export interface Check<S extends keyof Facts = keyof Facts> {
  readonly name: CheckName
  readonly stage: S
  /** Trusted clients skip the check. False only for checks that guard capacity or the wire. */
  readonly sparesTrusted: boolean
  /** The check may answer later. Only then does `signal` ever abort. */
  readonly waits?: boolean
  judge(facts: Facts[S], signal: AbortSignal): Verdict | Promise<Verdict>
}
