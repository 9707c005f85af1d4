/** What is recorded of the answer to a recipient. */
import type { ANSWERED_FROM } from '../telemetry/metrics.ts'
import type { Evidence } from './evidence.ts'

/** Where it comes from: a mail server that was asked, or what one said a short while ago (state/unknown-recipients.ts). */
export type AnsweredFrom = (typeof ANSWERED_FROM)[number]

export interface RecipientAnswer {
  /** What it says about the client. */
  readonly evidence: Evidence
  /** No limit of its sender holds the recipient up. */
  readonly isSpared: boolean
  /** There is no such recipient. */
  readonly isUnknown: boolean
  readonly from: AnsweredFrom
}

/** The mail server was not asked, or is not believed. */
export const NO_ANSWER: RecipientAnswer = { evidence: 'nothing', isSpared: false, isUnknown: false, from: 'upstream' }

/** For the log, which says nothing of a mail server that was asked. */
export const sourceForLog = (from: AnsweredFrom): { readonly source?: 'memory' } =>
  from === 'memory' ? { source: from } : {}
