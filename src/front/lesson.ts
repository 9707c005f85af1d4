/**
 * What the history of clients learns from one transaction, from what evidence.ts says of each reply.
 *
 * A message that the cluster accepted is one good message; one that it refused for the client, the sender or the content is one
 * bad message. Bad recipients count by their share of those that the cluster knew or did not know: a list with 2 % dead
 * subscribers teaches next to nothing bad, and a message to unknown users alone is as bad as one that was refused. Whoever
 * names more of them teaches more, up to five bad messages in one transaction.
 *
 * What was put off, given up, or refused by us teaches nothing, but for the breach of the protocol itself: that is one bad message
 * a session.
 *
 * A callout asks whether a user exists: a null sender, one recipient, and QUIT. It learns the answer, and we learn nothing. A
 * returned message (RFC 5321 section 6.1) looks the same if its recipient is refused, so the first recipient of a session
 * that has a null sender never teaches anything bad.
 */
import type { ReasonName } from '../core/reasons.ts'
import type { Lesson } from '../state/past.ts'
import type { MessageResult } from '../telemetry/metrics.ts'
import type { Evidence } from './evidence.ts'

/** The most bad messages that the recipients of one transaction stand for. */
const MOST_BAD = 5

/** Refusals that say that the client does not speak SMTP as any mail server does. */
export const BREACHES: ReadonlySet<ReasonName> = new Set<ReasonName>(['junk', 'tongue', 'line_too_long'])
export const BREACH: Lesson = { good: 0, bad: 1 }

/**
 * @param evidence what the reply to DATA or to the dot says
 * @param recipients how many the cluster has taken, and how many are bad
 */
export function lessonOf(
  result: MessageResult,
  evidence: Evidence,
  { taken, bad }: { readonly taken: number; readonly bad: number },
): Lesson {
  const named = bad === 0 ? 0 : (Math.min(bad, MOST_BAD) * bad) / (taken + bad)
  const good = result === 'accepted' && evidence === 'good' ? 1 : 0
  return { good, bad: named + (evidence === 'bad' ? 1 : 0) }
}

/** Whether this may be a callout so far. @param rcpts recipients of the session, with the one that was just answered */
export const isCallout = ({ from, rcpts }: { readonly from: string | undefined; readonly rcpts: number }): boolean =>
  from === '' && rcpts <= 1
