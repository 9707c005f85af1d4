/**
 * Tells whether a session begins with a PROXY header. It cannot be one that we asked for: the headers of listed balancers are
 * read and removed before the session begins. A balancer that is not listed sends one all the same. If we took it for commands
 * and answered them, every reply that the client behind it hears would be shifted. Nothing legitimate begins like this: PROXY is
 * no SMTP verb, and version 2 was designed so that no protocol begins with it.
 *
 * @param bytes all that has come so far @returns `maybe`: more bytes will tell
 */
import { agrees, PROXY_V1, PROXY_V2 } from '../../core/proxy-signatures.ts'

export function foreignHeader(bytes: Buffer): 'no' | 'maybe' | 'yes' {
  for (const signature of [PROXY_V1, PROXY_V2]) {
    if (agrees(bytes, signature)) return bytes.length < signature.length ? 'maybe' : 'yes'
  }
  return 'no'
}
