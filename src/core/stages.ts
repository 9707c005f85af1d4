/** How far a session has come: the order in which things can be known of a client, and refused. */

export const STAGES = ['connect', 'helo', 'mail', 'rcpt', 'data'] as const
export type Stage = (typeof STAGES)[number]
