/** The operator's deny list: the cheapest refusal, and the only permanent one at the gate that needs no ban. */
import { ACCEPT, type Check, refusalAt } from '../core/policy.ts'

/** @param stage where it is answered */
export const denied = <S extends 'connect' | 'rcpt'>(stage: S, isDenied: (ip: string) => boolean): Check<S> => ({
  name: 'denied',
  stage,
  sparesTrusted: true,
  judge: ({ client }) => (isDenied(client.ip) ? refusalAt(stage, 'denied') : ACCEPT),
})
