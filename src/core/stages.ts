/** The stages of a session, in order. At each of them more is known about the client, and it can be refused. */

export const STAGES = ['connect', 'helo', 'mail', 'rcpt', 'data'] as const
export type Stage = (typeof STAGES)[number]
