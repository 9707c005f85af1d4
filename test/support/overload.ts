/** Overload level 0, in the place of the level that is measured. */
import type { Guesses } from '../../src/overload/guesses.ts'
import type { Overload } from '../../src/overload/overload.ts'

export const NO_OVERLOAD: Pick<
  Overload,
  'level' | 'enforced' | 'atBanner' | 'atMail' | 'offer' | 'keysOfPutOff' | 'left' | 'idleMs' | 'met' | 'reserve'
> = {
  reserve: 0,
  level: 0,
  enforced: 0,
  atBanner: () => undefined,
  atMail: () => undefined,
  offer: () => undefined,
  keysOfPutOff: () => [],
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
