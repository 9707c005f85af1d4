/**
 * Who goes first among strangers while only a share of their messages is let in: what was put off and has come back in due time
 * (state/put-off.ts) before what comes for the first time, and clients that nothing speaks against before those that something does. Pure.
 *
 *     turn 0  has come back, from the same network or from another one
 *     turn 1  comes for the first time
 *     turn 2  has come back, and is doubtful
 *     turn 3  comes for the first time, and is doubtful
 *
 * Messages of a later turn get what those of the earlier ones leave of the share. Within a turn it goes out over networks, in
 * rounds (fair-share.ts). So the share is never more than it was, and coming back is no free ticket: bots that come back as mail
 * servers do share with them, network by network. Those that never come back, or do so at once, are let in last.
 *
 * Doubtful is a client of a network in which an address was bad within a day and fewer than a fifth were good (standing.ts), and one of
 * which a test has found that it is no mail server, or a DNS list says so, while that is only observed. It is too little to refuse
 * anybody, and enough to say who waits where somebody must.
 */
import type { Came } from '../core/overload.ts'

export const TURNS = 4

export const turnOf = (came: Came, isDoubtful: boolean): number => (came === 'first' ? 1 : 0) + (isDoubtful ? 2 : 0)
