/** Overload level 0, in the place of the level that is measured. */
import type { Overload } from '../../src/overload/overload.ts'

export const NO_OVERLOAD: Pick<
  Overload,
  'enforced' | 'atBanner' | 'atMail' | 'offer' | 'keysOfPutOff' | 'left' | 'idleMs' | 'met' | 'reserve'
> = {
  reserve: 0,
  enforced: 0,
  atBanner: () => undefined,
  atMail: () => undefined,
  offer: () => undefined,
  keysOfPutOff: () => [],
  left: () => undefined,
  idleMs: (_, usual) => usual,
  met: (standing) => standing,
}
