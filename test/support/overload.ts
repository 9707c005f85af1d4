/** Overload level 0, in the place of the level that is measured. */
import type { Client } from '../../src/core/client.ts'
import type { Guesses } from '../../src/overload/guesses.ts'
import type { Overload } from '../../src/overload/overload.ts'
import type { Envelope } from '../../src/state/returns.ts'

export const NO_OVERLOAD: Pick<
  Overload,
  'level' | 'enforced' | 'atBanner' | 'atMail' | 'atRcpt' | 'keysOfPutOff' | 'left' | 'idleMs' | 'met' | 'reserve'
> = {
  reserve: 0,
  level: 0,
  enforced: 0,
  atBanner: () => undefined,
  atMail: () => undefined,
  atRcpt: () => undefined,
  keysOfPutOff: () => undefined,
  left: () => undefined,
  idleMs: (_, usual) => usual,
  met: (standing) => standing,
}

/** Every guess is let in. */
export const NO_GUESSES: Pick<Guesses, 'came' | 'ask' | 'accepted'> = {
  came: () => 'first',
  ask: () => ({ shed: undefined, heard: () => undefined }),
  accepted: () => undefined,
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
