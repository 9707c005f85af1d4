/**
 * Refuses whoever speaks another protocol than SMTP (front/session/other-protocol.ts). It is judged when such a line comes, wherever in
 * the session, and a client that is refused is disconnected: it waits for what SMTP never says, and its bytes are nobody's commands.
 */
import { ACCEPT, type Check, refusalAs } from '../core/policy.ts'
import type { SignMode } from '../core/signs.ts'

export const tongue = (mode: SignMode): Check<'helo'> => ({
  name: 'tongue',
  stage: 'helo',
  sparesTrusted: true,
  judge: () => (mode === 'off' ? ACCEPT : refusalAs(mode === 'defer' ? 'defer' : 'reject', 'tongue')),
})
