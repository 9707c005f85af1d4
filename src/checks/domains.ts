/**
 * If the operator has listed the domains that receive mail here, other domains are refused without asking the cluster.
 */
import { domainToASCII } from 'node:url'
import { domainsOf } from '../core/address.ts'
import { isAscii, utf8Of } from '../core/latin1.ts'
import { ACCEPT, type Check, refusal } from '../core/policy.ts'

/**
 * An internationalized domain (RFC 6531) is listed by its A-labels.
 * @param domain in Latin-1, one character per byte
 */
const folded = (domain: string): string => (isAscii(domain) ? domain.toLowerCase() : domainToASCII(utf8Of(domain)))

/** @param listed domains in lower case, as A-labels; empty: the mail servers decide */
export function domains(listed: readonly string[]): Check<'rcpt'> {
  const known = new Set(listed)
  return {
    name: 'domains',
    stage: 'rcpt',
    sparesTrusted: true,
    judge: ({ to }) => {
      if (known.size === 0) return ACCEPT
      const named = domainsOf(to)
      // Postmaster without a domain is always ours (RFC 5321 section 4.5.1).
      const isOurs =
        named.length === 0 ? to.toLowerCase() === 'postmaster' : named.every((domain) => known.has(folded(domain)))
      return isOurs ? ACCEPT : refusal('rcpt_domain')
    },
  }
}
