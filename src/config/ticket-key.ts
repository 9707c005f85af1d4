/** The secret from which the key of TLS session tickets is made: read from a file, or agreed on by nodes. */
import { hkdfSync } from 'node:crypto'
import type { ReadText } from './entries.ts'

/** What Node wants: 16 octets of name, 16 for the HMAC, 16 for AES-128. */
export const TICKET_KEY_OCTETS = 48
const SHORTEST = 32
/** Fewer different characters are a placeholder, or a key pressed down. */
const FEWEST = 8

export const TICKET_KEY_EXPECTED = 'the path of a file with a secret of at least 32 characters'
const MAKE = 'make one with: openssl rand -base64 48'

/** Equal secrets give equal keys, and so do all nodes that know one. */
export const ticketKeyOf = (secret: string): Buffer =>
  Buffer.from(hkdfSync('sha256', secret, '', 'spillway tls session tickets', TICKET_KEY_OCTETS))

/** The secret is text, so that nothing is lost on its way through editors and secret stores. The hint never shows it. */
export function readTicketKey(path: string, read: ReadText): { readonly key: Buffer } | { readonly hint: string } {
  const content = read(path)
  if ('hint' in content) return content
  const secret = content.text.replace(/\s+/g, '')
  if (secret === '') return { hint: `it is empty: ${MAKE}` }
  if (!/^[\x21-\x7e]+$/.test(secret)) return { hint: `it has more than visible ASCII characters in it: ${MAKE}` }
  if (secret.length < SHORTEST) return { hint: `it has ${secret.length} characters: ${MAKE}` }
  if (new Set(secret).size < FEWEST) return { hint: `it is too easy to guess: ${MAKE}` }
  return { key: ticketKeyOf(secret) }
}
