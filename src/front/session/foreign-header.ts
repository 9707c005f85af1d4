/**
 * Whether a session begins with a PROXY header. It cannot be one that we asked for: those of listed balancers are read, and
 * taken off, before the session is there. A balancer that nobody has listed sends it all the same, and answering it as the
 * commands it is not would shift every reply that the client behind it hears. Nothing legitimate begins like this: PROXY is
 * no verb of SMTP, and version 2 was made to be no beginning of any protocol.
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
