/**
 * What a client is to hear of its transaction. An upstream's words go to the client as they are, where they fit what the
 * client asked; where they do not, and where there are none, it hears a 451: for its queue the mail is still to be sent.
 */
import { type Refusal, refusal } from '../core/policy.ts'
import type { Reply } from './smtp-client.ts'

/** An upstream's words, or a refusal of ours. `upstream`: who was asked. */
export type Answer =
  | { readonly kind: 'reply'; readonly reply: Reply; readonly upstream: string }
  | { readonly kind: 'refusal'; readonly refusal: Refusal; readonly upstream: string | undefined }

/** What became of a message after DATA was answered with 354. `unknown`: the upstream never answered the dot. */
export interface Final {
  readonly answer: Answer
  readonly result: 'accepted' | 'deferred' | 'rejected' | 'unknown'
  /** Milliseconds from the dot to the upstream's reply. */
  readonly ms: number
}

/** 451: the upstream said nothing that could be passed on. `why` is for the log. */
export const lost = (upstream: string | undefined, why: string): Answer => ({
  kind: 'refusal',
  refusal: refusal('upstream_lost', { why }),
  upstream,
})

/** An upstream's 421 is about its connection to us, not ours to the client; 2yz and 3yz out of place are not believed. */
export const asRefusal = (reply: Reply): Reply => {
  if (reply.code < 400) return { code: 451, lines: ['4.3.0 The mail server answered out of turn'] }
  return reply.code === 421 ? { code: 451, lines: reply.lines } : reply
}

/** After these the connection is of no more use: it is about to be closed, or its replies do not fit our commands. */
export const isLast = ({ code }: Reply): boolean => code === 421 || (code >= 300 && code < 400)

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
