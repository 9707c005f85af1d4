/** A size declared at MAIL that is over what we take (RFC 1870 section 6.1). Guards the cluster, so nobody is spared. */
import { type Check, within } from '../core/policy.ts'

export const size: Check<'mail'> = {
  name: 'size',
  stage: 'mail',
  sparesTrusted: false,
  judge: ({ size: used, maxSize: max }) =>
    within('size', used === undefined || max === undefined ? undefined : { used, max }),
}
