/**
 * Directory harvest: a client that asks for many recipients the cluster does not know, and not much else. A list with a
 * few dead addresses among many good ones is not that, hence the share. It is learned from the cluster's own answers; each
 * mailbox counts once, so that nobody hides guesses behind one address that he knows.
 */
import type { Client } from '../core/client.ts'
import { ACCEPT, type Check, refusal } from '../core/policy.ts'
import type { Use } from '../core/usage.ts'

/** Unknown recipients must be at least this share of all the client asked for. */
const HARVEST_SHARE = 0.3

/** What the cluster answered this client lately; `asked` counts all mailboxes, `unknown.used` those it does not know. */
export interface Asked {
  readonly unknown: Use
  readonly asked: number
}

/** @param lately asked for each recipient; undefined: the limit is off */
export const unknownRecipients = (lately: (client: Client) => Asked | undefined): Check<'rcpt'> => ({
  name: 'unknown-recipients',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ client, exempt }) => {
    if (exempt) return ACCEPT
    const heard = lately(client)
    if (heard === undefined) return ACCEPT
    const { unknown, asked } = heard
    if (unknown.used < unknown.max || unknown.used < HARVEST_SHARE * asked) return ACCEPT
    const facts = { used: unknown.used, max: unknown.max, windowMs: unknown.windowMs, asked }
    return refusal('unknown_recipients', facts)
  },
})
