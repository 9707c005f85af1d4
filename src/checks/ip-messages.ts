/** How many messages a source may send. Judged with the first recipient, where postmaster and null senders can be told. */
import { type Check, within } from '../core/policy.ts'

export const ipMessages: Check<'rcpt'> = {
  name: 'ip-messages',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ usage }) => within('ip_messages', usage.ip_messages),
}
