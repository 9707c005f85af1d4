/** The stages of a session, in order: at each of them more is known of the client, and it can be refused. */

export const STAGES = ['connect', 'helo', 'mail', 'rcpt', 'data'] as const
export type Stage = (typeof STAGES)[number]
