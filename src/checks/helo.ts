/**
 * Refuses names in HELO and EHLO that no mail server has. RFC 5321 section 4.1.4 forbids to refuse mail because a name does not
 * fit the client's address, and nothing here compares the two: servers behind NAT have names and address literals of their own.
 *
 *     ours          our own name or public address: a bot that says back what it was told. It cannot know a private one, and a
 *                   mail server behind another NAT may have the same
 *     syntax        what can be the name of no host (RFC 1123 section 2.1); underscores and U-labels pass, they are common
 *     unqualified   a name without a dot, such as localhost or the name of a PC (RFC 5321 section 2.3.5)
 *     address       an IP address without brackets (RFC 5321 section 4.1.3)
 *     renamed       another name than before in the same session; after STARTTLS it may differ
 *     common        strangers of hundreds of networks have it in the same minutes. It is never refused for good: whoever owns
 *                   the name may be among them, and bots can borrow it
 */
import { isIPv4, isIPv6 } from 'node:net'
import type { Client } from '../core/client.ts'
import { isPrivate } from '../core/ip.ts'
import { ACCEPT, type Check, type Facts, refusalAs } from '../core/policy.ts'
import type { SignMode } from '../core/signs.ts'

/** Latin-1: what is not ASCII may be part of a U-label in UTF-8 (RFC 6531 section 3.7.1). */
const LABEL = /^[A-Za-z0-9_\x80-\xff-]{1,63}$/
const LITERAL = /^\[(?:IPv6:)?(?<ip>[0-9A-Fa-f.:]+)\]$/i

export type HeloSign = 'ours' | 'syntax' | 'unqualified' | 'address' | 'renamed' | 'common'

/**
 * What is wrong with a name by itself. @param name as the client said it, in Latin-1 @param hostname ours
 * @returns undefined: nothing
 */
export function heloSignOf(
  name: string,
  client: Pick<Client, 'ip' | 'local'>,
  hostname: string,
): 'ours' | 'syntax' | 'unqualified' | 'address' | undefined {
  const plain = name.endsWith('.') ? name.slice(0, -1) : name
  const literal = LITERAL.exec(plain)?.groups?.ip
  const isAddress = plain.includes(':') ? isIPv6(plain) : isIPv4(plain)
  const address = literal ?? (isAddress ? plain : undefined)
  // The system is asked for our address only where it matters.
  const isOurAddress = address !== undefined && address === client.local.ip && !isPrivate(address)
  // A client on this machine has our address.
  if (plain.toLowerCase() === hostname.toLowerCase() || isOurAddress)
    return client.ip === client.local.ip ? undefined : 'ours'
  if (literal !== undefined || plain.startsWith('[')) return undefined
  if (isAddress) return 'address'
  const labels = plain.split('.')
  if (!labels.every((label) => LABEL.test(label))) return 'syntax'
  return labels.length < 2 ? 'unqualified' : undefined
}

function signOf({ client, helo, signs }: Facts['helo'], hostname: string): HeloSign | undefined {
  const own = heloSignOf(helo, client, hostname)
  return own ?? (signs.renamed ? 'renamed' : signs.common ? 'common' : undefined)
}

/** @param hostname ours */
export const helo = (mode: SignMode, hostname: string): Check<'helo'> => ({
  name: 'helo',
  stage: 'helo',
  sparesTrusted: true,
  judge: (facts) => {
    const sign = mode === 'off' ? undefined : signOf(facts, hostname)
    if (sign === undefined) return ACCEPT
    return refusalAs(mode === 'defer' || sign === 'common' ? 'defer' : 'reject', 'helo', { why: sign })
  },
})
