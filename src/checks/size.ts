/**
 * Refuses a declared size larger than we accept (RFC 1870 section 6.1). It protects the cluster, so nobody is exempt.
 */
import { type Check, verdictOn } from '../core/policy.ts'

export const size: Check<'mail'> = {
  name: 'size',
  stage: 'mail',
  sparesTrusted: false,
  judge: ({ size: used, maxSize: max }) =>
    verdictOn('size', used === undefined || max === undefined ? undefined : { used, max }),
}
