/**
 * Detects a directory harvest: a client, or a network, that asks for many recipients that the cluster does not know, and for few
 * others. A mailing list with a few dead addresses among many good ones is not a harvest, hence the share. The counts
 * come from the cluster's own replies (state/harvest.ts). Known clients are not refused for what others of their network name, unless
 * they guess themselves.
 */
import type { Client } from '../core/client.ts'
import type { UnknownLimit } from '../core/limits.ts'
import { ACCEPT, type Check, refusal } from '../core/policy.ts'
import { checkOf } from '../core/reasons.ts'
import type { RecentRecipients } from '../core/usage.ts'
import { HARVEST_SHARE, isGuessing } from '../state/harvest.ts'

/** @param lately called for each recipient; returns undefined if the limit is off */
export const unknownRecipients = (
  limit: UnknownLimit,
  lately: (client: Client, limit: UnknownLimit) => RecentRecipients | undefined,
): Check<'rcpt'> => ({
  name: checkOf(limit),
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ client, exempt }) => {
    if (exempt) return ACCEPT
    const recent = lately(client, limit)
    if (recent === undefined) return ACCEPT
    if (limit === 'net_unknown_recipients' && client.standing === 'known' && !isGuessing(recent)) return ACCEPT
    const { unknown, asked, guessed, named } = recent
    if (unknown.used < unknown.max || unknown.used < HARVEST_SHARE * asked) return ACCEPT
    const { used, max, windowMs } = unknown
    return refusal(limit, { used, max, windowMs, asked, guessed, named })
  },
})
