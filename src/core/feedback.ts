/** What an operator, or a program of the cluster, says of a message after it was accepted. */
import type { Standing } from './client.ts'

export const VERDICTS = ['spam', 'ham'] as const
export type Verdict = (typeof VERDICTS)[number]

export interface Feedback {
  /** A canonical address, or what the mail server called the message in its reply to the dot. */
  readonly of: { readonly address: string } | { readonly queueId: string }
  readonly verdict: Verdict
}

export interface FeedbackReport {
  /** The address, or the /64, that the history has it under. */
  readonly source: string
  /** As it is now. */
  readonly standing: Standing
  /** False where nothing has changed: the message counted so already, or the client is trusted. */
  readonly learnt: boolean
}
