/**
 * Turns away strangers while there is more than can be taken (overload/): at the banner those whose standing the level refuses,
 * and at RCPT the messages that are not among the share that is let in. Both judge before anything is charged to a limit, so
 * that a retry finds the limits as they were.
 */
import type { Client, OpenCounts } from '../core/client.ts'
import { ACCEPT, type Check, type Refusal, refusalAt } from '../core/policy.ts'

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

export const overloadAtRcpt: Check<'rcpt'> = {
  name: 'overload',
  stage: 'rcpt',
  sparesTrusted: true,
  judge: ({ shed }) => {
    const why = shed()
    return why === undefined ? ACCEPT : refusalAt('rcpt', 'overload', why)
  },
}
