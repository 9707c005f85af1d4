/**
 * Refuses whoever spoke before it was greeted. A mail server waits for the greeting, because a refusal may come in its place
 * (RFC 5321 section 3.1); many bots say all that they have to say as soon as they are connected. gate/greeting.ts listens for it.
 * The client hears of it at HELO: after a `220-` nothing but a `220 ` can follow.
 */
import { ACCEPT, type Check, refusalAs } from '../core/policy.ts'
import type { SignMode } from '../core/signs.ts'

export const pregreet = (mode: SignMode): Check<'helo'> => ({
  name: 'pregreet',
  stage: 'helo',
  sparesTrusted: true,
  judge: ({ signs }) =>
    mode === 'off' || !signs.early ? ACCEPT : refusalAs(mode === 'defer' ? 'defer' : 'reject', 'pregreet'),
})
