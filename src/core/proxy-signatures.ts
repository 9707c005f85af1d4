/**
 * The first bytes of a PROXY protocol header (HAProxy's proxy-protocol.txt). A header is recognized by them before it
 * is parsed.
 */

/** Version 1, section 2.1. */
export const PROXY_V1 = Buffer.from('PROXY ')
/** Version 2, section 2.2. No protocol that a client might speak begins with these bytes. */
export const PROXY_V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n')

/** Whether `bytes` begin with the signature or are a beginning of it. Empty `bytes` agree with any signature. */
export function agrees(bytes: Buffer, signature: Buffer): boolean {
  // What SMTP clients say begins otherwise.
  if (bytes.length > 0 && bytes[0] !== signature[0]) return false
  const length = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, length, 0, length) === 0
}
