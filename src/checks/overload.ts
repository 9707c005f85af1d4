/**
 * Turns away strangers while there is more than can be taken (overload/): at the banner those whose standing the level refuses,
 * at RCPT the messages that are not among the share that is let in, and at MAIL those that no recipient would get in. All judge before
 * anything is charged to a limit, so that a retry finds the limits as they were.
 */
import type { Client, OpenCounts } from '../core/client.ts'
import { ACCEPT, type Check, type Facts, type Refusal, refusalAt } from '../core/policy.ts'

/** @param refused why the level refuses the client; undefined: it does not */
export const overloadAtBanner = (
  refused: (client: Client, open: OpenCounts) => Refusal['facts'] | undefined,
): Check<'connect'> => ({
  name: 'overload',
  stage: 'connect',
  sparesTrusted: true,
  judge: ({ client, open }) => {
    const why = refused(client, open)
    return why === undefined ? ACCEPT : refusalAt('connect', 'overload', why)
  },
})

const forShed = <S extends 'mail' | 'rcpt'>(stage: S): Check<S> => ({
  name: 'overload',
  stage,
  sparesTrusted: true,
  judge({ shed }: Facts['mail' | 'rcpt']) {
    const why = shed()
    return why === undefined ? ACCEPT : refusalAt(stage, 'overload', why)
  },
})
export const overloadAtMail = forShed('mail')
export const overloadAtRcpt = forShed('rcpt')
