/**
 * What the history learns when somebody says that a message was spam, or that it was not. Where the cluster files junk instead
 * of refusing it, its 250 says nothing; this does.
 *
 * A message counts once, as good or as bad, and feedback moves it from one to the other:
 *
 *     it counted as             spam                                   ham
 *     good                      one good less, one bad more            -
 *     bad, by its reply         -                                      one bad less, one good more
 *     spam, by feedback         -                                      one bad less, one good more, as before
 *     nothing                   one bad more                           -
 *
 * Of an address it is not known which message is meant: spam is taken for one that counted as good, ham for one that counted as
 * bad. The neighbourhood hears of it as of any message: its good is not taken back, so that of a pool whose addresses send
 * accepted mail never more than half turns bad.
 */
import type { Verdict } from '../core/feedback.ts'
import type { Lesson } from './past.ts'
import type { CountsAs } from './relayed-messages.ts'

export interface Correction {
  readonly lesson: Lesson
  readonly countsAs: CountsAs
}

const SPAM: Correction = { lesson: { good: 0, bad: 1, undone: 1 }, countsAs: 'spam' }
const SPAM_AT_FIRST: Correction = { lesson: { good: 0, bad: 1 }, countsAs: 'bad' }
const HAM: Correction = { lesson: { good: 1, bad: -1 }, countsAs: 'good' }
const HAM_AFTER_ALL: Correction = { lesson: { good: 0, bad: -1, undone: -1 }, countsAs: 'good' }

/** @param before what the message counted as; undefined: that is not known @returns undefined if nothing changes */
export function correctionOf(verdict: Verdict, before?: CountsAs): Correction | undefined {
  if (verdict === 'spam') {
    if (before === 'nothing') return SPAM_AT_FIRST
    return before === undefined || before === 'good' ? SPAM : undefined
  }
  if (before === 'good' || before === 'nothing') return undefined
  return before === 'spam' ? HAM_AFTER_ALL : HAM
}
