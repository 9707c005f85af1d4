/** Recipients of one message. What is over it is put off, and the client sends the rest in another (RFC 5321 4.5.3.1.10). */
import { type Check, within } from '../core/policy.ts'

export const recipients = (max: number): Check<'rcpt'> => ({
  name: 'recipients',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ accepted }) => within('recipients', { used: accepted + 1, max }),
})
