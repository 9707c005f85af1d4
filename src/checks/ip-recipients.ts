/** How many recipients a source may name, over all its messages. */
import { type Check, within } from '../core/policy.ts'

export const ipRecipients: Check<'rcpt'> = {
  name: 'ip-recipients',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ usage }) => within('ip_recipients', usage.ip_recipients),
}
