/** What a verdict is, and what one is made of. */
import type { Status } from './status.ts'

export interface Verdict {
  /** warn: look at it; critical: mail of honest senders is held up. */
  readonly severity: 'ok' | 'warn' | 'critical'
  readonly text: string
  /** What the operator may do. */
  readonly do: string
}

/** @param now in ms since the epoch @returns undefined: it has nothing to say */
export type Evidence = (status: Status, now: number) => Verdict | undefined
