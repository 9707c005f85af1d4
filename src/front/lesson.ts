/**
 * What the history of clients learns from one transaction, from what evidence.ts says of each reply.
 *
 * A message that the cluster accepted is one good message, unless it was only for recipients that no limit and no overload level holds up,
 * such as postmaster: otherwise one letter to them would buy a stranger in a flood a standing. One that it refused for the client, the
 * sender or the content is one bad message. Bad recipients count by their share of those that the cluster knew or did not know: a list with
 * 2 % dead subscribers teaches next to nothing bad, and a message to unknown users alone is as bad as one that was refused. Whoever names
 * more of them teaches more, up to five bad messages in one transaction.
 *
 * What was put off, given up, or refused by us teaches nothing, but for the breach of the protocol itself: that is one bad message
 * a session. The reason junk is no breach: a list server that hears 451 and RSETs, again and again, ends by it too.
 *
 * From a known client neither bad recipients nor breaches teach anything. A stranger can make it name them by signing up with
 * addresses that do not exist: it sends the confirmations. Limits hold it all the same, and what it sends is still judged.
 *
 * A callout asks whether a user exists: a null sender, one recipient, and QUIT. It learns the answer, and we learn nothing. A
 * returned message (RFC 5321 section 6.1) looks the same if its recipient is refused, so the first recipient of a session
 * that has a null sender never teaches anything bad.
 */
import type { Client } from '../core/client.ts'
import type { ReasonName } from '../core/reasons.ts'
import { HARVEST_SHARE } from '../state/harvest.ts'
import type { Lesson } from '../state/past.ts'
import type { MessageResult } from '../telemetry/metrics.ts'
import type { Evidence } from './evidence.ts'

/** The most bad messages that the recipients of one transaction stand for. */
const MOST_BAD = 5

/** Refusals that say that the client does not speak SMTP as any mail server does. */
export const BREACHES: ReadonlySet<ReasonName> = new Set<ReasonName>(['tongue', 'line_too_long'])
export const BREACH: Lesson = { good: 0, bad: 1 }
export const NOTHING: Lesson = { good: 0, bad: 0 }

export interface Recipients {
  /** How many the cluster has taken, how many of them are exempt from limits and levels, and how many are bad. */
  readonly taken: number
  readonly spared: number
  readonly bad: number
}

/** @param evidence what the reply to DATA or to the dot says */
export function lessonOf(
  { standing }: Pick<Client, 'standing'>,
  result: MessageResult,
  evidence: Evidence,
  { taken, spared, bad }: Recipients,
): Lesson {
  const named = bad === 0 || standing === 'known' ? 0 : (Math.min(bad, MOST_BAD) * bad) / (taken + bad)
  const good = result === 'accepted' && evidence === 'good' && taken > spared ? 1 : 0
  return { good, bad: named + (evidence === 'bad' ? 1 : 0) }
}

/**
 * What a message says of its network within the next minutes (state/latest-mail.ts); undefined: nothing. One that was accepted says no good if so many of
 * its recipients do not exist that it guesses. But guesses alone say nothing bad: anybody can make a known client name them.
 */
export function latestOf(
  { good }: Lesson,
  evidence: Evidence,
  { taken, bad }: Pick<Recipients, 'taken' | 'bad'>,
): 'good' | 'bad' | undefined {
  if (evidence === 'bad') return 'bad'
  return good > 0 && bad < HARVEST_SHARE * (taken + bad) ? 'good' : undefined
}

/** Whether this may be a callout so far. @param rcpts recipients of the session, with the one that was just answered */
export const isCallout = ({ from, rcpts }: { readonly from: string | undefined; readonly rcpts: number }): boolean =>
  from === '' && rcpts <= 1
