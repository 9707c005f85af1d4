/** GET /api/v1/observe: what checks in observe mode would have refused, and what the mail servers said of the same sessions. */
import type { Standing } from '../core/client.ts'
import type { CheckName } from '../core/reasons.ts'
import type { Heard } from '../telemetry/metrics.ts'
import type { ObservedSender, Peak } from '../telemetry/observed/report.ts'

export interface ObserveReport {
  /** When counting began: at the start of the oldest process that was asked. */
  readonly since: string
  /** Checks that are observed, and others that would have refused somebody while they were. */
  readonly checks: readonly ObservedCheck[]
}

export interface ObservedCheck {
  readonly check: CheckName
  /** Whether it is in observe mode now. */
  readonly observing: boolean
  /** Sessions that it would have refused. */
  readonly sessions: number
  /** The same by what the mail servers said of them. */
  readonly heard: Readonly<Record<Heard, number>>
  /** The same by standing too. Standings that no session had are left out. */
  readonly standings: Readonly<Record<Heard, Readonly<Partial<Record<Standing, number>>>>>
  /** Of the sessions of which the mail servers said anything, the share whose mail they accepted, 0 to 1; absent: they said nothing. */
  readonly falsePositives?: number
  /** Of the senders whose mail was accepted, those that are kept, the most honest first. */
  readonly senders: readonly (Omit<ObservedSender, 'last'> & { readonly last: string })[]
  /** There were more of them. */
  readonly moreSenders: boolean
  /**
   * The most that a known sender used whose mail was accepted, against its own maximum, and that a seen one did; with a value of the
   * setting that would have let it in.
   */
  readonly peaks: readonly (Peak & { readonly suggested?: string })[]
  /** Of a limit: its setting, its value now (`off`: it has none), and one that would have let in all known and seen senders. */
  readonly setting?: { readonly name: string; readonly now: string; readonly suggested?: string }
}
