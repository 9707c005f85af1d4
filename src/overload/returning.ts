/**
 * Who goes first among strangers while only a share of their messages is let in: what was put off and has come back in due time
 * (state/put-off.ts) before what comes for the first time. Pure.
 *
 *     turn 0  has come back, from the same network or from another one
 *     turn 1  comes for the first time
 *
 * Messages of a later turn get what those of the earlier ones leave of the share. Within a turn it goes out over networks, in
 * rounds (fair-share.ts). So the share is never more than it was, and coming back is no free ticket: bots that come back as mail
 * servers do share with them, network by network. Those that never come back, or do so at once, are let in last.
 */
import type { Came } from '../core/overload.ts'

export const TURNS = 2

export const turnOf = (came: Came): number => (came === 'first' ? 1 : 0)
