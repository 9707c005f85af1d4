/**
 * The first bytes of a PROXY protocol header (HAProxy's proxy-protocol.txt), by which it is recognized before parsing.
 */

/** Version 1, section 2.1. */
export const PROXY_V1 = Buffer.from('PROXY ')
/** Version 2, section 2.2. No protocol that a client may speak begins with these bytes. */
export const PROXY_V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n')

/** Whether `bytes` begin with the signature or are the beginning of one. Empty `bytes` agree with any signature. */
export function agrees(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}
