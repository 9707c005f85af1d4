/**
 * Limits the recipients of one message. Further recipients are deferred, and the client sends them the message in
 * another transaction (RFC 5321 section 4.5.3.1.10).
 */
import { type Check, verdictOn } from '../core/policy.ts'

export const recipients = (max: number): Check<'rcpt'> => ({
  name: 'recipients',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ accepted }) => verdictOn('recipients', { used: accepted + 1, max }),
})
