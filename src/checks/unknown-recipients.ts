/**
 * Detects a directory harvest: a client that asks for many recipients that the cluster does not know, and for few
 * others. A mailing list with a few dead addresses among many good ones is not a harvest, hence the share. The counts
 * come from the cluster's own replies. Each mailbox counts once, so that a client cannot hide its guesses by naming one
 * valid address again and again.
 */
import type { Client } from '../core/client.ts'
import { ACCEPT, type Check, refusal } from '../core/policy.ts'
import type { RecentRecipients } from '../core/usage.ts'

/** Unknown recipients must be at least this share of all that the client asked for. */
const HARVEST_SHARE = 0.3

/** @param lately called for each recipient; returns undefined if the limit is off */
export const unknownRecipients = (lately: (client: Client) => RecentRecipients | undefined): Check<'rcpt'> => ({
  name: 'unknown-recipients',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ client, exempt }) => {
    if (exempt) return ACCEPT
    const recent = lately(client)
    if (recent === undefined) return ACCEPT
    const { unknown, asked } = recent
    if (unknown.used < unknown.max || unknown.used < HARVEST_SHARE * asked) return ACCEPT
    const facts = { used: unknown.used, max: unknown.max, windowMs: unknown.windowMs, asked }
    return refusal('unknown_recipients', facts)
  },
})
