/**
 * Who goes first among strangers while only a share of their messages is let in. Three questions decide, the weightiest first. Pure.
 *
 *     is it doubtful?        who is not goes before who is
 *     has it come back?      what was put off and has come back in due time (state/put-off.ts) goes before what comes for the first time
 *     is it in the clear?    who has asked for STARTTLS goes before who could have and has not
 *
 *     turn 0  has come back                  turn 4  has come back, and is doubtful
 *     turn 1  has come back, in the clear    turn 5  has come back, and is doubtful and in the clear
 *     turn 2  comes first                    turn 6  comes first, and is doubtful
 *     turn 3  comes first, in the clear      turn 7  comes first, and is doubtful and in the clear
 *
 * What has come back and is doubtful by its neighbours alone, over TLS, has one thing against it, as what comes back in the clear has: it is in turn 1. One
 * rented address that is bad makes all strangers of its /24 doubtful, and an honest one among them gets in when it comes back.
 *
 * Messages of a later turn get what those of the earlier ones leave of the share. Within a turn it goes out over networks, in
 * rounds (fair-share.ts). So the share is never more than it was, and coming back is no free ticket: bots that come back as mail
 * servers do share with them, network by network. Those that never come back, or do so at once, are let in last.
 *
 * Doubtful is a client of a network in which an address was bad within a day and fewer than a fifth were good (standing.ts), and one of
 * which a test has found that it is no mail server, or a DNS list says so, while that is only observed. It is too little to refuse
 * anybody, and enough to say who waits where somebody must.
 *
 * Coming back counts only after a session that ended as mail servers end theirs (front/session/put-offs.ts). Many bots hang up without QUIT:
 * three in five, the flood lab assumes. Nearly all mail servers ask for STARTTLS, and few bots, as a handshake costs them more than a
 * message: nineteen in twenty, and one in five, the lab assumes. A bot that learns both is where it was without these two questions, and so is everybody else.
 */
import type { Came } from '../core/overload.ts'

/** How a client behaves that is no friend. */
export interface Manner {
  readonly isDoubtful: boolean
  /** Its neighbours alone make it doubtful. */
  readonly byNeighbours?: boolean
  /** It could have had TLS, and speaks without. */
  readonly isClear: boolean
}

export const TURNS = 8

export function turnOf(came: Came, { isDoubtful, byNeighbours = false, isClear }: Manner): number {
  if (byNeighbours && !isClear && came !== 'first') return 1
  return (isDoubtful ? 4 : 0) + (came === 'first' ? 2 : 0) + (isClear ? 1 : 0)
}
