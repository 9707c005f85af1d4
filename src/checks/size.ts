/** Refuses a declared size larger than we accept (RFC 1870 section 6.1). It guards the cluster, so nobody is spared. */
import { type Check, within } from '../core/policy.ts'

export const size: Check<'mail'> = {
  name: 'size',
  stage: 'mail',
  sparesTrusted: false,
  judge: ({ size: used, maxSize: max }) =>
    within('size', used === undefined || max === undefined ? undefined : { used, max }),
}
