/** Overload level 0, in the place of the level that is measured. */
import type { Client } from '../../src/core/client.ts'
import type { Overload } from '../../src/overload/overload.ts'
import type { Envelope } from '../../src/state/returns.ts'

export const NO_OVERLOAD: Pick<
  Overload,
  'enforced' | 'atBanner' | 'atMail' | 'atRcpt' | 'keysOfPutOff' | 'left' | 'idleMs' | 'met' | 'reserve'
> = {
  reserve: 0,
  enforced: 0,
  atBanner: () => undefined,
  atMail: () => undefined,
  atRcpt: () => undefined,
  keysOfPutOff: () => undefined,
  left: () => undefined,
  idleMs: (_, usual) => usual,
  met: (standing) => standing,
}

/** A message is put off, and its client leaves in order. */
export function putOff(
  overload: Pick<Overload, 'keysOfPutOff' | 'left'>,
  client: Pick<Client, 'standing' | 'net' | 'domain'>,
  letter: Envelope,
): void {
  const keys = overload.keysOfPutOff(client, letter)
  if (keys !== undefined) overload.left(client, [keys])
}
