/** A size declared at MAIL that is over what we take (RFC 1870 section 6.1). Guards the cluster, so nobody is spared. */
import { type Check, within } from '../core/policy.ts'

/** @param max octets, asked for at each MAIL because it follows what the upstreams offer; undefined: no limit */
export const size = (max: () => number | undefined): Check<'mail'> => ({
  name: 'size',
  stage: 'mail',
  sparesTrusted: false,
  judge: (facts) => {
    const most = max()
    return within('size', facts.size === undefined || most === undefined ? undefined : { used: facts.size, max: most })
  },
})
