/**
 * The words of policy: stages, facts, verdicts, checks. A check compares facts and says what it saw; what is done about
 * it (enforce, only count, skip) is the runner's affair (checks/runner.ts).
 */
import type { Client, OpenCounts } from './client.ts'
import { type Action, type CheckName, type ReasonName, reasonOf } from './reasons.ts'
import type { Usage } from './usage.ts'

export { STAGES, type Stage } from './stages.ts'

/** enforce: refuse. observe: judge, count and log, but let pass. off: do not even judge. */
export type Mode = 'enforce' | 'observe' | 'off'

/** What is known at each stage; a connect check that reads `from` does not compile. */
export interface Facts {
  connect: { readonly client: Client; readonly open: OpenCounts; readonly usage: Usage }
  helo: Facts['connect'] & { readonly helo: string }
  mail: Facts['helo'] & {
    readonly from: string
    /** As the client declared it, in octets. */
    readonly size: number | undefined
    /** Octets a message of this session may have; undefined: no limit. */
    readonly maxSize: number | undefined
  }
  /**
   * `accepted`: recipients of this message an upstream has taken so far. `exempt`: postmaster, abuse or a verification
   * within its own budget, which no limit per sender holds up (RFC 5321 section 4.5.1). `usage` is the transaction's.
   */
  rcpt: Omit<Facts['mail'], 'maxSize'> & { readonly to: string; readonly accepted: number; readonly exempt: boolean }
}

export interface Refusal {
  readonly action: Action
  readonly reason: ReasonName
  readonly code: number
  readonly enhanced: string
  /** The plain words for the wire. */
  readonly text: string
  /** To the log, never to the wire. */
  readonly facts: Readonly<Record<string, string | number | undefined>>
}
export type Verdict = { readonly action: 'accept' } | Refusal

export const ACCEPT: Verdict = { action: 'accept' }
const NO_FACTS = {}

/** A refusal with the code and words that core/reasons.ts has for `reason`. */
export function refusal(reason: ReasonName, facts: Refusal['facts'] = NO_FACTS): Refusal {
  const { action, code, enhanced, wire } = reasonOf(reason)
  return { action, reason, code, enhanced, text: wire, facts }
}

/** The last line of most checks: over the limit or not. */
export function within(
  reason: ReasonName,
  use: { readonly used: number; readonly max: number; readonly windowMs?: number } | undefined,
): Verdict {
  if (use === undefined || use.used <= use.max) return ACCEPT
  return refusal(reason, { ...use })
}

/** A small piece of policy that judges one stage. */
export interface Check<S extends keyof Facts = keyof Facts> {
  readonly name: CheckName
  readonly stage: S
  /** Clients on the allow list are not asked by it; false only for what guards capacity or the wire. */
  readonly sparesTrusted: boolean
  /** Says that it may answer later; only then does `signal` ever abort. */
  readonly waits?: boolean
  judge(facts: Facts[S], signal: AbortSignal): Verdict | Promise<Verdict>
}
