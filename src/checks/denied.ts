/** The operator's deny list: the cheapest refusal, and the only permanent one at the gate. */
import { ACCEPT, type Check, refusal } from '../core/policy.ts'

export const denied = (isDenied: (ip: string) => boolean): Check<'connect'> => ({
  name: 'denied',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ client }) => (isDenied(client.ip) ? refusal('denied') : ACCEPT),
})
