/** How many messages everybody together may send. What a narrower limit refused is not charged to it. */
import { type Check, within } from '../core/policy.ts'

export const globalMessages: Check<'rcpt'> = {
  name: 'global-messages',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ usage }) => within('global_messages', usage.global_messages),
}
